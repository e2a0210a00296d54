#include "hierarchy/cg_solver.hpp"

namespace gabp {
namespace {

constexpr double curvature_rounding = 1e-14;  // curvature below this share of |A||p|^2 is rounding
constexpr double noticeable = 1e-4;           // share of the energy decrease of all iterations

}  // namespace

void CGSolver::begin_iteration() {
    energy_decreased_ = false;
    flat_column_ = -1;
}

void CGSolver::set_step_length(int column, double curvature, double slope, double length2, double norm_bound) {
    alpha_[column] = 0.0;
    curvature_[column] = curvature;
    if (length2 == 0.0) return;
    if (!(curvature > curvature_rounding * norm_bound * length2)) {
        flat_column_ = column;
        curvature_[column] = 0.0;
        if (!(curvature > 0.0)) return;
    }
    alpha_[column] = slope / curvature;
    energy_decrease_[column] += alpha_[column] * slope;
    if (alpha_[column] * slope > noticeable * energy_decrease_[column]) energy_decreased_ = true;
}

void CGSolver::sum_blocks(int blocks, int count) {
    const int width = count * width_;
    for (int k = 1; k < blocks; ++k)
        for (int d = 0; d < width; ++d) dots_[d] += dots_[static_cast<std::size_t>(k) * width + d];
}

}  // namespace gabp
