// A hierarchy of Gaussian models, each the contraction of the one before, and the cycle through it that
// preconditions conjugate gradients.
#pragma once

#include "hierarchy/envelope.hpp"
#include "hierarchy/level_matrix.hpp"
#include "hierarchy/preparation.hpp"

#include <memory>
#include <vector>

namespace gabp {

struct Model {
    ModelMatrix matrix;
    Envelope exact;  // not empty: this model is solved by elimination, and it is the last
};

enum class Cycle { v, k };

// Everything that depends on A alone; immutable once built.
class Hierarchy {
public:
    // `like`: null, or a hierarchy for other values on the same pattern whose order and clusters are kept.
    template <class W>
    Hierarchy(Preparation<W> &&prepared, const Hierarchy *like, Team &team);
    Hierarchy(const Hierarchy &) = delete;
    Hierarchy &operator=(const Hierarchy &) = delete;

    std::int32_t n() const { return n_; }
    std::int64_t couplings() const { return couplings_; }
    // No models: the couplings are scattered over the rows of no mesh, and the diagonal is all the preconditioner.
    bool scattered() const { return model_.empty(); }
    const SlotView &slots() const { return slots_; }  // of a scattered one: the rows it was made of, which must live on
    const std::vector<std::int32_t> &slot_blocks() const { return slot_block_; }
    const std::vector<Model> &models() const { return model_; }
    double norm_bound() const { return norm_bound_; }  // of A: the largest absolute row sum
    std::int64_t bytes() const;
    // What turns the user's vectors into the hierarchy's: row i is scale(i) times the user's row place(i).
    std::int64_t place(std::int64_t i) const { return order_.data() ? order_[i] : i; }
    double scale(std::int64_t i) const { return scale_.data() ? scale_[i] : 1.0; }
    bool scaled() const { return scale_.data() != nullptr; }
    bool reordered() const { return order_.data() != nullptr; }
    const Array<std::int32_t> &order() const { return order_; }

private:
    template <class W>
    void build(const RowsView<W> &rows, bool contract_further, const Hierarchy *like, Team &team);
    template <class W>
    void keep_slots(const RowsView<W> &rows, Array<double> &&diagonal, Team &team);
    void weigh_norm(Team &team);  // in the user's units

    std::int32_t n_;
    std::int64_t couplings_;
    std::vector<Model> model_;
    SlotView slots_{};
    std::vector<std::int32_t> slot_block_;
    Array<double> slot_diagonal_;
    Array<float> slot_inverse_;
    Array<std::int32_t> order_;
    Array<double> scale_;
    double norm_bound_ = 0.0;
};

// The vectors of one solve: (n, columns) for each level.
class Passage {
public:
    Passage(const Hierarchy &hierarchy, int columns, Cycle cycle, Team &team);

    // out = B b for the finest level
    void apply(const float *b, float *out) { cycle(0, b, out); }
    // The same where x = (D + L)^-1 b has been computed on the finest level (into half()).
    void finish(const float *b, float *out) { after_forward(0, b, out); }
    void use(Cycle cycle) { kind_ = cycle; }
    bool varies() const;  // from one application to the next, with what coarse models are given
    bool splits() const { return hierarchy_.models().front().exact.empty(); }
    float *half() { return vector_.front().x.data(); }

private:
    struct Vectors {
        Array<float> b, x, c, image, d;
    };
    bool accelerates(const Model &coarse) const;
    void cycle(std::size_t l, const float *b, float *out);
    void after_forward(std::size_t l, const float *b, float *out);
    void accelerate(std::size_t l);
    void product(std::size_t l, const float *c, const float *r, const float *o, double *dots);

    const Hierarchy &hierarchy_;
    const int columns_;
    Cycle kind_;
    Team &team_;
    const RowKernels &kernel_;
    std::vector<Vectors> vector_;
    std::vector<double> work_, dots_;
};

}  // namespace gabp
