#include "hierarchy/cycle_workspace.hpp"

#include <algorithm>
#include <utility>

namespace gabp {
namespace {

constexpr std::int32_t smallest_accelerated = serial_rows;  // smaller levels are visited too often to pay
constexpr double enough_reduction = 0.25;      // of a coarse residual by the first iteration: no second
constexpr double parallel_directions = 1e-7;   // share of d's curvature below which d adds nothing to c

}  // namespace

CycleWorkspace::CycleWorkspace(const Hierarchy &hierarchy, int columns, Cycle cycle, Team &team)
    : hierarchy_(hierarchy), columns_(columns), kind_(cycle), team_(team), kernel_(row_kernels(columns)) {
    std::size_t blocks = 1;
    for (std::size_t l = 0; l < hierarchy.levels().size(); ++l) {
        const LevelMatrix &m = hierarchy.levels()[l].matrix;
        const std::int64_t size = std::int64_t(m.n) * columns;
        Vectors v;
        v.x = Array<float>(size);
        if (l > 0) {
            v.b = Array<float>(size);
            v.c = Array<float>(size);
            if (accelerates(hierarchy.levels()[l])) {
                v.image = Array<float>(size);
                v.d = Array<float>(size);
            }
        }
        vector_.push_back(std::move(v));
        blocks = std::max(blocks, m.block.size());
        if (!hierarchy.levels()[l].factor.empty()) work_.resize(static_cast<std::size_t>(size));
    }
    dots_.resize(blocks * product_dots * static_cast<std::size_t>(columns));
}

bool CycleWorkspace::accelerates(const Level &coarse) const {
    return kind_ == Cycle::k && coarse.matrix.n >= smallest_accelerated && coarse.factor.empty();
}

bool CycleWorkspace::is_variable() const {
    const std::vector<Level> &levels = hierarchy_.levels();
    return std::any_of(levels.begin() + 1, levels.end(), [&](const Level &coarse) { return accelerates(coarse); });
}

void CycleWorkspace::cycle(std::size_t l, const float *b, float *out) {
    const Level &level = hierarchy_.levels()[l];
    if (!level.factor.empty()) {
        level.factor.solve(b, out, columns_, work_.data());
        return;
    }
    const LevelMatrix &m = level.matrix;
    const SweepView view = m.view();
    float *x = vector_[l].x.data();
    team_.each(m.blocks(), [&](std::int64_t k) { kernel_.forward(view, m.block_run[k], m.block_run[k + 1], b, x); });
    after_forward(l, b, out);
}

void CycleWorkspace::after_forward(std::size_t l, const float *b, float *out) {
    const LevelMatrix &m = hierarchy_.levels()[l].matrix;
    const SweepView view = m.view();
    float *x = vector_[l].x.data();
    if (m.aggregate.size() == 0) {
        team_.each(m.blocks(), [&](std::int64_t k) {
            std::copy(x + std::int64_t(m.block[k]) * columns_, x + std::int64_t(m.block[k + 1]) * columns_,
                      out + std::int64_t(m.block[k]) * columns_);
            kernel_.backward(view, m.block_run[k], m.block_run[k + 1], out);
        });
        return;
    }
    Vectors &coarse = vector_[l + 1];
    std::fill(coarse.b.data(), coarse.b.data() + coarse.b.size(), 0.0f);
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.restrict_residual(view, m.block_run[k], m.block_run[k + 1], x, coarse.b.data());
    });
    const Level &next = hierarchy_.levels()[l + 1];
    if (accelerates(next))
        accelerate(l + 1);
    else
        cycle(l + 1, coarse.b.data(), coarse.c.data());
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.prolong(view, m.block[k], m.block[k + 1], coarse.c.data(), x);
    });
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.correct_backward(view, m.block_run[k], m.block_run[k + 1], b, x, out);
    });
}

// image of the level = A c, and the sums over all blocks.
void CycleWorkspace::product(std::size_t l, const float *c, const float *r, const float *o, double *dots) {
    const LevelMatrix &m = hierarchy_.levels()[l].matrix;
    const SweepView view = m.view();
    const std::int64_t count = product_dots * columns_;
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.product(view, m.block_run[k], m.block_run[k + 1], c, r, o, vector_[l].image.data(),
                        dots_.data() + k * count);
    });
    std::fill(dots, dots + count, 0.0);
    for (int k = 0; k < m.blocks(); ++k)
        for (std::int64_t d = 0; d < count; ++d) dots[d] += dots_[static_cast<std::size_t>(k * count + d)];
}

// At most two iterations of flexible conjugate gradients on a coarse level (Notay 2010, algorithm 3.2):
// c of the level becomes an approximation of A^-1 b; b is overwritten.
void CycleWorkspace::accelerate(std::size_t l) {
    Vectors &v = vector_[l];
    const LevelMatrix &m = hierarchy_.levels()[l].matrix;
    float *b = v.b.data(), *c = v.c.data(), *d = v.d.data();
    double first[product_dots * 8], second[product_dots * 8];
    float along_c[8], along_d[8];
    cycle(l, b, c);
    product(l, c, b, b, first);
    if (first_step(first, along_c)) {
        std::fill(along_d, along_d + columns_, 0.0f);
        d = c;
    } else {
        team_.each(m.blocks(), [&](std::int64_t k) {
            kernel_.subtract(m.block[k], m.block[k + 1], along_c, v.image.data(), b);
        });
        cycle(l, b, d);
        product(l, d, b, c, second);
        second_step(first, second, along_c, along_d);
    }
    team_.each(m.blocks(), [&](std::int64_t k) {
        kernel_.combine(m.block[k], m.block[k + 1], along_c, c, along_d, d, c);
    });
}

// The step along c of every column; whether it leaves little of every residual.
bool CycleWorkspace::first_step(const double *dots, float *along_c) const {
    const int w = columns_;
    bool enough = true;
    for (int k = 0; k < w; ++k) {
        const double curvature = dots[k], slope = dots[w + k], overlap = dots[2 * w + k], image2 = dots[3 * w + k];
        const double before = dots[4 * w + k];
        const double step = curvature > 0.0 ? slope / curvature : 0.0;
        if (before - 2.0 * step * overlap + step * step * image2 > enough_reduction * enough_reduction * before)
            enough = false;
        along_c[k] = static_cast<float>(step);
    }
    return enough;
}

// The steps that minimise the energy over the span of c and d.
void CycleWorkspace::second_step(const double *first, const double *second, float *along_c, float *along_d) const {
    const int w = columns_;
    for (int k = 0; k < w; ++k) {
        const double curvature = first[k], slope = first[w + k], coupling = second[2 * w + k];
        double rest = second[k];  // the curvature of d without its part along c
        if (curvature > 0.0) rest -= coupling * coupling / curvature;
        const double step = rest > parallel_directions * second[k] ? second[w + k] / rest : 0.0;
        along_d[k] = static_cast<float>(step);
        along_c[k] = static_cast<float>(curvature > 0.0 ? (slope - coupling * step) / curvature : 0.0);
    }
}

void apply_v_cycle(const Hierarchy &hierarchy, const double *b, double *out, std::int64_t columns, Team &team) {
    const std::int64_t n = hierarchy.n();
    if (hierarchy.lacks_locality()) {
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t c = 0; c < columns; ++c)
                out[i * columns + c] = static_cast<double>(hierarchy.csr().inverse[i]) * b[i * columns + c];
        return;
    }
    for (std::int64_t first = 0; first < columns; first += 8) {
        const int group = static_cast<int>(std::min<std::int64_t>(8, columns - first));
        const int width = padded_columns(group);
        CycleWorkspace workspace(hierarchy, width, Cycle::v, team);
        Array<float> in(n * width), result(n * width);
        for (std::int64_t i = 0; i < n; ++i) {
            const double *row = b + hierarchy.user_row(i) * columns + first;
            for (int c = 0; c < width; ++c)
                in[i * width + c] = c < group ? static_cast<float>(hierarchy.scale(i) * row[c]) : 0.0f;
        }
        workspace.apply(in.data(), result.data());
        for (std::int64_t i = 0; i < n; ++i) {
            double *row = out + hierarchy.user_row(i) * columns + first;
            for (int c = 0; c < group; ++c)
                row[c] = hierarchy.scale(i) * static_cast<double>(result[i * width + c]);
        }
    }
}

}  // namespace gabp
