#include "hierarchy/jacobi_cg.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {

JacobiCG::JacobiCG(const Hierarchy &hierarchy, const double *residual, std::int64_t stride, int columns, Team &team)
    : CGSolver(columns), hierarchy_(hierarchy), block_(hierarchy.csr_blocks()), team_(team),
      slope_(static_cast<std::size_t>(width_)) {
    const std::int64_t size = std::int64_t(hierarchy.n()) * width_;
    solution_ = Array<double>(size);
    residual_ = Array<double>(size);
    image_ = Array<double>(size);
    direction_ = Array<float>(size);
    const int blocks = static_cast<int>(block_.size()) - 1;
    dots_.resize(static_cast<std::size_t>(blocks * csr_dots * width_));
    team_.each(blocks, [&](std::int64_t k) {
        const std::int64_t first = std::int64_t(block_[k]) * width_, last = std::int64_t(block_[k + 1]) * width_;
        std::fill(solution_.data() + first, solution_.data() + last, 0.0);
        std::fill(direction_.data() + first, direction_.data() + last, 0.0f);
        for (std::int64_t i = block_[k]; i < block_[k + 1]; ++i)
            for (int c = 0; c < width_; ++c)
                residual_[i * width_ + c] = c < columns_ ? residual[i * stride + c] : 0.0;
        kernel_.norm2(block_[k], block_[k + 1], nullptr, residual_.data(), dots_.data() + k * width_);
    });
    sum_blocks(blocks, 1);
    for (int c = 0; c < width_; ++c) norm_[c] = std::sqrt(dots_[c]);
    update_direction();
}

void JacobiCG::update_direction() {
    const CsrView &rows = hierarchy_.csr();
    const int blocks = static_cast<int>(block_.size()) - 1;
    team_.each(blocks, [&](std::int64_t k) {
        kernel_.csr_direction(rows, block_[k], block_[k + 1], beta_.data(), residual_.data(), direction_.data(),
                               dots_.data() + k * width_);
    });
    sum_blocks(blocks, 1);
    std::copy(dots_.begin(), dots_.begin() + width_, slope_.begin());
}

void JacobiCG::iterate() {
    const CsrView &rows = hierarchy_.csr();
    const int blocks = static_cast<int>(block_.size()) - 1, w = width_;
    if (flat_column_ >= 0) update_direction();
    begin_iteration();
    team_.each(blocks, [&](std::int64_t k) {
        kernel_.csr_product(rows, block_[k], block_[k + 1], direction_.data(), image_.data(),
                             dots_.data() + k * csr_dots * w);
    });
    sum_blocks(blocks, csr_dots);
    for (int c = 0; c < w; ++c) set_step_length(c, dots_[c], slope_[c], dots_[w + c], hierarchy_.norm_bound());
    team_.each(blocks, [&](std::int64_t k) {
        kernel_.csr_advance(rows, block_[k], block_[k + 1], alpha_.data(), direction_.data(), image_.data(),
                             solution_.data(), residual_.data(), dots_.data() + k * csr_dots * w);
    });
    sum_blocks(blocks, csr_dots);
    for (int c = 0; c < w; ++c) {
        norm_[c] = std::sqrt(dots_[c]);
        beta_[c] = curvature_[c] > 0.0 ? -dots_[w + c] / curvature_[c] : 0.0;
    }
    if (flat_column_ < 0) update_direction();
}

void JacobiCG::write_solution(double *out, std::int64_t stride) {
    team_.each(static_cast<std::int64_t>(block_.size()) - 1, [&](std::int64_t k) {
        for (std::int64_t i = block_[k]; i < block_[k + 1]; ++i)
            for (int c = 0; c < columns_; ++c) out[i * stride + c] = solution_[i * width_ + c];
    });
}

void JacobiCG::write_direction(int column, double *out) const {
    for (std::int64_t i = 0; i < hierarchy_.n(); ++i) out[i] = direction_[i * width_ + column];
}

}  // namespace gabp
