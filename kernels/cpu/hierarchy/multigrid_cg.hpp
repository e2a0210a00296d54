// Flexible conjugate gradients preconditioned by the cycle through a hierarchy.
#pragma once

#include "hierarchy/cg_solver.hpp"
#include "hierarchy/hierarchy.hpp"

namespace gabp {

class ConjugateGradients : public Gradients {
public:
    // residual: (n, columns) by rows with the given stride; columns is 1 to 8.
    ConjugateGradients(const Hierarchy &hierarchy, const double *residual, std::int64_t stride, int columns,
                       Cycle cycle, Team &team);

    void step() override;
    void write_solution(double *out, std::int64_t stride) override;
    void write_direction(int column, double *out) const override;

private:
    void settle();
    void measure();

    const Hierarchy &hierarchy_;
    Team &team_;
    Passage passage_;
    Array<double> solution_, residual_, direction_, image_;
    Array<float> b_, z_;
    int steps_ = 0;
};

}  // namespace gabp
