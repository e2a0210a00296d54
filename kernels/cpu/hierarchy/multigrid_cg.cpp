#include "hierarchy/multigrid_cg.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr int varied_steps = 250;    // the K-cycle differs from step to step, which costs a long solve its conjugacy
constexpr double cancelled = 1e-10;  // a norm that falls so far in one step is not known from sums before it

}  // namespace

ConjugateGradients::ConjugateGradients(const Hierarchy &hierarchy, const double *residual, std::int64_t stride,
                                       int columns, Cycle cycle, Team &team)
    : Gradients(columns),
      hierarchy_(hierarchy),
      team_(team),
      passage_(hierarchy, width_, cycle, team) {
    const std::int64_t size = std::int64_t(hierarchy.n()) * width_;
    solution_ = Array<double>(size);
    residual_ = Array<double>(size);
    direction_ = Array<double>(size);
    image_ = Array<double>(size);
    b_ = Array<float>(size);
    z_ = Array<float>(size);
    const ModelMatrix &m = hierarchy.models().front().matrix;
    dots_.resize(static_cast<std::size_t>(m.blocks() * direction_dots * width_));
    team_.each(m.blocks(), [&](std::int64_t k) {
        for (Array<double> *vector : {&solution_, &direction_, &image_})
            std::fill(vector->data() + m.block[k] * std::int64_t(width_),
                      vector->data() + m.block[k + 1] * std::int64_t(width_), 0.0);
        for (std::int64_t i = m.block[k]; i < m.block[k + 1]; ++i)
            for (int c = 0; c < width_; ++c)
                residual_[i * width_ + c] =
                    c < columns_ ? hierarchy_.scale(i) * residual[hierarchy_.place(i) * stride + c] : 0.0;
    });
    measure();
}

// The norms of the residuals in the user's units.
void ConjugateGradients::measure() {
    const ModelMatrix &m = hierarchy_.models().front().matrix;
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.norm2(m.block[k], m.block[k + 1], m.norm_weight.data(), residual_.data(), dots_.data() + k * width_);
    });
    sum_blocks(m.blocks(), 1);
    for (int c = 0; c < width_; ++c) norm_[c] = std::sqrt(dots_[c]);
}

void ConjugateGradients::step() {
    begin_step();
    if (++steps_ == varied_steps && passage_.varies()) {
        passage_.use(Cycle::v);
        std::fill(energy_.begin(), energy_.end(), 0.0);  // no direction before the first of a new sequence
    }
    const ModelMatrix &m = hierarchy_.models().front().matrix;
    const SweepView view = m.view();
    const GradientStep g{solution_.data(), residual_.data(), direction_.data(), image_.data(), alpha_.data(), beta_.data()};
    const int blocks = m.blocks(), w = width_;
    float *z = z_.data();
    if (passage_.splits()) {
        team_.each(blocks, [&](std::int64_t k) {
            kernel_.advance_forward(view, m.block_run[k], m.block_run[k + 1], g, b_.data(), passage_.half(),
                                    dots_.data() + k * w);
        });
        sum_blocks(blocks, 1);
        for (int c = 0; c < w; ++c) norm_[c] = std::sqrt(dots_[c]);
        passage_.finish(b_.data(), z);
    } else {
        settle();
        measure();
        for (std::int64_t i = 0; i < residual_.size(); ++i) b_[i] = static_cast<float>(residual_[i]);
        passage_.apply(b_.data(), z);
    }
    team_.each(blocks, [&](std::int64_t k) {
        kernel_.dot(m.block[k], m.block[k + 1], z, image_.data(), dots_.data() + k * w);
    });
    sum_blocks(blocks, 1);
    for (int c = 0; c < w; ++c) beta_[c] = energy_[c] > 0.0 ? -dots_[c] / energy_[c] : 0.0;
    team_.each(blocks, [&](std::int64_t k) {
        kernel_.advance_direction(view, m.block_run[k], m.block_run[k + 1], g, z, dots_.data() + k * direction_dots * w);
    });
    sum_blocks(blocks, direction_dots);
    bool uncertain = false;
    for (int c = 0; c < w; ++c) {
        const double image2 = dots_[3 * w + c], overlap = dots_[4 * w + c];
        choose_step(c, dots_[c], dots_[w + c], dots_[2 * w + c], hierarchy_.norm_bound());
        if (alpha_[c] == 0.0) continue;
        const double left = norm_[c] * norm_[c] - 2.0 * alpha_[c] * overlap + alpha_[c] * alpha_[c] * image2;
        if (!(left > cancelled * norm_[c] * norm_[c])) uncertain = true;
        norm_[c] = std::sqrt(std::max(left, 0.0));
    }
    if (uncertain) {
        settle();
        measure();
    }
}

// Applies the last step to the solution and the residual, which otherwise waits for the next forward sweep.
void ConjugateGradients::settle() {
    const ModelMatrix &m = hierarchy_.models().front().matrix;
    team_.each(m.blocks(), [&](std::int64_t k) {
        for (std::int64_t i = m.block[k]; i < m.block[k + 1]; ++i)
            for (int c = 0; c < width_; ++c) {
                const std::int64_t at = i * width_ + c;
                solution_[at] += alpha_[c] * direction_[at];
                residual_[at] -= alpha_[c] * image_[at];
            }
    });
    std::fill(alpha_.begin(), alpha_.end(), 0.0);
}

void ConjugateGradients::write_solution(double *out, std::int64_t stride) {
    settle();
    const ModelMatrix &m = hierarchy_.models().front().matrix;
    team_.each(m.blocks(), [&](std::int64_t k) {
        for (std::int64_t i = m.block[k]; i < m.block[k + 1]; ++i)
            for (int c = 0; c < columns_; ++c)
                out[hierarchy_.place(i) * stride + c] = hierarchy_.scale(i) * solution_[i * width_ + c];
    });
}

void ConjugateGradients::write_direction(int column, double *out) const {
    for (std::int64_t i = 0; i < hierarchy_.n(); ++i)
        out[hierarchy_.place(i)] = hierarchy_.scale(i) * direction_[i * width_ + column];
}

}  // namespace gabp
