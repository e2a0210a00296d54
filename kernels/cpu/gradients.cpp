#include "gradients.hpp"

namespace gabp {
namespace {

constexpr double trace = 1e-4;  // of the energy gained by all steps, that still counts as a gain

}  // namespace

Failure Gradients::choose_step(int column, double energy, double match, double noise) {
    Failure failure = Failure::none;
    alpha_[column] = 0.0;
    energy_[column] = energy;
    if (!(energy > noise)) {
        failure = energy < -noise ? Failure::not_positive_definite : Failure::breakdown;
        failed_column_ = column;
        energy_[column] = 0.0;
        if (!(energy > 0.0)) return failure;
    }
    alpha_[column] = match / energy;
    gained_[column] += alpha_[column] * match;
    if (alpha_[column] * match > trace * gained_[column]) gained_energy_ = true;
    return failure;
}

void Gradients::sum_blocks(int blocks, int count) {
    const int width = count * width_;
    for (int k = 1; k < blocks; ++k)
        for (int d = 0; d < width; ++d) dots_[d] += dots_[static_cast<std::size_t>(k) * width + d];
}

}  // namespace gabp
