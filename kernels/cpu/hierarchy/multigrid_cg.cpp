#include "hierarchy/multigrid_cg.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr int variable_iterations = 250;  // with a variable preconditioner, which costs long solves their conjugacy
constexpr double cancellation = 1e-10;    // relative decrease of a squared norm beyond which its recurrence cancels

}  // namespace

MultigridCG::MultigridCG(const Hierarchy &hierarchy, const double *residual, std::int64_t stride, int columns,
                         Cycle cycle, Team &team)
    : CGSolver(columns), hierarchy_(hierarchy), team_(team), workspace_(hierarchy, width_, cycle, team) {
    const std::int64_t size = std::int64_t(hierarchy.n()) * width_;
    solution_ = Array<double>(size);
    residual_ = Array<double>(size);
    direction_ = Array<double>(size);
    image_ = Array<double>(size);
    b_ = Array<float>(size);
    z_ = Array<float>(size);
    const LevelMatrix &m = hierarchy.levels().front().matrix;
    dots_.resize(static_cast<std::size_t>(m.blocks() * direction_dots * width_));
    team_.each(m.blocks(), [&](std::int64_t k) {
        for (Array<double> *vector : {&solution_, &direction_, &image_})
            std::fill(vector->data() + m.block[k] * std::int64_t(width_),
                      vector->data() + m.block[k + 1] * std::int64_t(width_), 0.0);
        for (std::int64_t i = m.block[k]; i < m.block[k + 1]; ++i)
            for (int c = 0; c < width_; ++c)
                residual_[i * width_ + c] =
                    c < columns_ ? hierarchy_.scale(i) * residual[hierarchy_.user_row(i) * stride + c] : 0.0;
    });
    compute_norms();
}

void MultigridCG::compute_norms() {
    const LevelMatrix &m = hierarchy_.levels().front().matrix;
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.norm2(m.block[k], m.block[k + 1], m.norm_weight.data(), residual_.data(), dots_.data() + k * width_);
    });
    sum_blocks(m.blocks(), 1);
    for (int c = 0; c < width_; ++c) norm_[c] = std::sqrt(dots_[c]);
}

CGVectors MultigridCG::vectors() {
    return {solution_.data(), residual_.data(), direction_.data(), image_.data(), alpha_.data(), beta_.data()};
}

void MultigridCG::iterate() {
    begin_iteration();
    if (++iterations_ == variable_iterations && workspace_.is_variable()) {
        workspace_.set_cycle(Cycle::v);
        std::fill(curvature_.begin(), curvature_.end(), 0.0);  // restart: no previous direction
    }
    apply_preconditioner();
    update_direction();
    const int w = width_;
    bool uncertain = false;
    for (int c = 0; c < w; ++c) {
        const double image2 = dots_[3 * w + c], overlap = dots_[4 * w + c];
        set_step_length(c, dots_[c], dots_[w + c], dots_[2 * w + c], hierarchy_.norm_bound());
        if (alpha_[c] == 0.0) continue;
        const double left = norm_[c] * norm_[c] - 2.0 * alpha_[c] * overlap + alpha_[c] * alpha_[c] * image2;
        if (!(left > cancellation * norm_[c] * norm_[c])) uncertain = true;
        norm_[c] = std::sqrt(std::max(left, 0.0));
    }
    if (uncertain) {
        apply_step();
        compute_norms();
    }
}

// z = B r, after the pending step.
void MultigridCG::apply_preconditioner() {
    if (!workspace_.sweeps_finest()) {
        apply_step();
        compute_norms();
        for (std::int64_t i = 0; i < residual_.size(); ++i) b_[i] = static_cast<float>(residual_[i]);
        workspace_.apply(b_.data(), z_.data());
        return;
    }
    const LevelMatrix &m = hierarchy_.levels().front().matrix;
    const SweepView view = m.view();
    const CGVectors v = vectors();
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.advance_forward(view, m.block_run[k], m.block_run[k + 1], v, b_.data(), workspace_.forward_result(),
                                dots_.data() + k * width_);
    });
    sum_blocks(m.blocks(), 1);
    for (int c = 0; c < width_; ++c) norm_[c] = std::sqrt(dots_[c]);
    workspace_.apply_after_forward(b_.data(), z_.data());
}

// p = z + beta p, A p, and the sums of direction_dots.
void MultigridCG::update_direction() {
    const LevelMatrix &m = hierarchy_.levels().front().matrix;
    const SweepView view = m.view();
    const CGVectors v = vectors();
    const int blocks = m.blocks(), w = width_;
    const float *z = z_.data();
    team_.each(blocks, [&](std::int64_t k) {
        kernel_.dot(m.block[k], m.block[k + 1], z, image_.data(), dots_.data() + k * w);
    });
    sum_blocks(blocks, 1);
    for (int c = 0; c < w; ++c) beta_[c] = curvature_[c] > 0.0 ? -dots_[c] / curvature_[c] : 0.0;
    team_.each(blocks, [&](std::int64_t k) {
        kernel_.advance_direction(view, m.block_run[k], m.block_run[k + 1], v, z,
                                  dots_.data() + k * direction_dots * w);
    });
    sum_blocks(blocks, direction_dots);
}

void MultigridCG::apply_step() {
    const LevelMatrix &m = hierarchy_.levels().front().matrix;
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

void MultigridCG::write_solution(double *out, std::int64_t stride) {
    apply_step();
    const LevelMatrix &m = hierarchy_.levels().front().matrix;
    team_.each(m.blocks(), [&](std::int64_t k) {
        for (std::int64_t i = m.block[k]; i < m.block[k + 1]; ++i)
            for (int c = 0; c < columns_; ++c)
                out[hierarchy_.user_row(i) * stride + c] = hierarchy_.scale(i) * solution_[i * width_ + c];
    });
}

void MultigridCG::write_direction(int column, double *out) const {
    for (std::int64_t i = 0; i < hierarchy_.n(); ++i)
        out[hierarchy_.user_row(i)] = hierarchy_.scale(i) * direction_[i * width_ + column];
}

}  // namespace gabp
