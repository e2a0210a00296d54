#include "hierarchy/cg_solver.hpp"

namespace gabp {
namespace {

constexpr double rounding = 1e-14;  // curvature below this share of |A||p|^2 is noise
constexpr double trace = 1e-4;      // of the energy gained by all steps, that still counts as a gain

}  // namespace

void Gradients::begin_step() {
    gained_energy_ = false;
    suspect_ = -1;
}

void Gradients::choose_step(int column, double energy, double match, double length2, double norm_bound) {
    alpha_[column] = 0.0;
    energy_[column] = energy;
    if (length2 == 0.0) return;
    if (!(energy > rounding * norm_bound * length2)) {
        suspect_ = column;
        energy_[column] = 0.0;
        if (!(energy > 0.0)) return;
    }
    alpha_[column] = match / energy;
    gained_[column] += alpha_[column] * match;
    if (alpha_[column] * match > trace * gained_[column]) gained_energy_ = true;
}

void Gradients::sum_blocks(int blocks, int count) {
    const int width = count * width_;
    for (int k = 1; k < blocks; ++k)
        for (int d = 0; d < width; ++d) dots_[d] += dots_[static_cast<std::size_t>(k) * width + d];
}

}  // namespace gabp
