// Conjugate gradients preconditioned by the diagonal, for graphs without locality: row blocks and aggregates would hold
// few of their couplings. Reads the user's own arrays.
#pragma once

#include "hierarchy/cg_solver.hpp"
#include "hierarchy/hierarchy.hpp"

namespace gabp {

class JacobiCG : public CGSolver {
public:
    // residual: (n, columns) by rows with the given stride; columns is 1 to 8.
    JacobiCG(const Hierarchy &hierarchy, const double *residual, std::int64_t stride, int columns, Team &team);

    void iterate() override;
    void write_solution(double *out, std::int64_t stride) override;
    void write_direction(int column, double *out) const override;

private:
    void update_direction();  // postponed after one without curvature, which can then be written

    const Hierarchy &hierarchy_;
    const std::vector<std::int32_t> &block_;
    Team &team_;
    Array<double> solution_, residual_, image_;
    // In float32, so that more of the gathered entries stay in the cache. The step length is exact for the rounded
    // direction; only conjugacy suffers.
    Array<float> direction_;
    std::vector<double> slope_;  // p'r
};

}  // namespace gabp
