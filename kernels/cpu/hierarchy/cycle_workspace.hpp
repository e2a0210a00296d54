// The multigrid cycle that preconditions conjugate gradients, and its vectors.
#pragma once

#include "hierarchy/hierarchy.hpp"

#include <vector>

namespace gabp {

enum class Cycle { v, k };

// The vectors of one solve: (n, columns) for each level. Not to be shared between threads.
class CycleWorkspace {
public:
    CycleWorkspace(const Hierarchy &hierarchy, int columns, Cycle cycle, Team &team);

    // out = B b on the finest level
    void apply(const float *b, float *out) { cycle(0, b, out); }
    // The same where forward_result() holds x = (D + L)^-1 b of the finest level.
    void apply_after_forward(const float *b, float *out) { after_forward(0, b, out); }
    float *forward_result() { return vector_.front().x.data(); }
    void set_cycle(Cycle cycle) { kind_ = cycle; }
    bool is_variable() const;  // whether B changes with b: a level is accelerated
    bool sweeps_finest() const { return hierarchy_.levels().front().factor.empty(); }

private:
    struct Vectors {
        Array<float> b, x, c, image, d;
    };
    bool accelerates(const Level &coarse) const;
    void cycle(std::size_t l, const float *b, float *out);
    void after_forward(std::size_t l, const float *b, float *out);
    void accelerate(std::size_t l);
    bool first_step(const double *dots, float *along_c) const;
    void second_step(const double *first, const double *second, float *along_c, float *along_d) const;
    void product(std::size_t l, const float *c, const float *r, const float *o, double *dots);

    const Hierarchy &hierarchy_;
    const int columns_;
    Cycle kind_;
    Team &team_;
    const RowKernels &kernel_;
    std::vector<Vectors> vector_;
    std::vector<double> work_, dots_;
};

// out = B b for one V-cycle B, with b and out (n, columns) in the user's order and units.
void apply_v_cycle(const Hierarchy &hierarchy, const double *b, double *out, std::int64_t columns, Team &team);

}  // namespace gabp
