// Flexible conjugate gradients preconditioned by a multigrid cycle.
#pragma once

#include "hierarchy/cg_solver.hpp"
#include "hierarchy/cycle_workspace.hpp"

namespace gabp {

class MultigridCG : public CGSolver {
public:
    // residual: (n, columns) by rows with the given stride; columns is 1 to 8.
    MultigridCG(const Hierarchy &hierarchy, const double *residual, std::int64_t stride, int columns,
                       Cycle cycle, Team &team);

    void iterate() override;
    void write_solution(double *out, std::int64_t stride) override;
    void write_direction(int column, double *out) const override;

private:
    void apply_preconditioner();
    void update_direction();
    // Applies the last step to solution and residual, which otherwise waits for the next forward sweep.
    void apply_step();
    void compute_norms();  // of the residuals, in the user's units
    CGVectors vectors();

    const Hierarchy &hierarchy_;
    Team &team_;
    CycleWorkspace workspace_;
    Array<double> solution_, residual_, direction_, image_;
    Array<float> b_, z_;
    int iterations_ = 0;
};

}  // namespace gabp
