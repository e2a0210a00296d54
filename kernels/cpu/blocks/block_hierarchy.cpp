#include "blocks/block_hierarchy.hpp"

#include "factor/dense.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gabp {
namespace {

constexpr std::int64_t largest_exact = 700;   // unknowns of a coarsest level that is inverted
constexpr int most_levels = 20;
constexpr double least_aggregation = 0.8;     // aggregates per node above which a coarse level is not worth it
constexpr int power_iterations = 12;
constexpr double smoothing = 4.0 / 3.0;       // over the spectral radius of D^-1 A
constexpr double singular = 1e-12;            // pivot, relative to the diagonal
constexpr int most_grounded = 32;             // pivots of the coarsest level that are replaced one by one
constexpr double largest_shift = 1e6;         // of its diagonal, past any indefinite matrix of unit diagonal
constexpr std::int64_t fewest_rows = 2048;    // of a stretch
constexpr std::int64_t most_stretches = 16;
constexpr double outside_share = 0.5;         // of the diagonal: sum of couplings to other stretches that needs no load

double nearest_power_of_two(double value) { return std::exp2(std::round(std::log2(value))); }

// The inverse of a symmetric positive definite block, column by column; pivots at rounding level are replaced.
void invert(const double *block, int d, double *inverse) {
    std::vector<double> l(block, block + d * d);
    for (int j = 0; j < d; ++j) {
        const double diagonal = block[j * d + j];
        for (int k = 0; k < j; ++k) l[j * d + j] -= l[k * d + j] * l[k * d + j];
        if (!(l[j * d + j] > singular * diagonal)) l[j * d + j] = diagonal > 0.0 ? diagonal : 1.0;
        l[j * d + j] = std::sqrt(l[j * d + j]);
        for (int i = j + 1; i < d; ++i) {
            for (int k = 0; k < j; ++k) l[j * d + i] -= l[k * d + i] * l[k * d + j];
            l[j * d + i] /= l[j * d + j];
        }
    }
    for (int c = 0; c < d; ++c) {
        double *x = inverse + c * d;
        for (int i = 0; i < d; ++i) {
            x[i] = i == c ? 1.0 : 0.0;
            for (int k = 0; k < i; ++k) x[i] -= l[k * d + i] * x[k];
            x[i] /= l[i * d + i];
        }
        for (int i = d; i-- > 0;) {
            for (int k = i + 1; k < d; ++k) x[i] -= l[i * d + k] * x[k];
            x[i] /= l[i * d + i];
        }
    }
}

// Divides the rows into stretches and finds where each row's couplings leave its own.
void divide(const BlockMatrix<double> &matrix, BlockLevel &level) {
    const std::int64_t n = matrix.rows;
    const std::int64_t count = std::clamp<std::int64_t>(n / fewest_rows, 1, most_stretches);
    for (std::int64_t s = 0; s <= count; ++s) level.stretch.push_back(n * s / count);
    level.near = Array<std::int64_t>(n);
    level.own = Array<std::int64_t>(n);
    level.behind = Array<std::int64_t>(n);
    for (std::int64_t s = 0; s < count; ++s)
        for (std::int64_t i = level.stretch[s]; i < level.stretch[s + 1]; ++i) {
            const std::int32_t *first = matrix.column.data() + matrix.start[i];
            const std::int32_t *last = matrix.column.data() + matrix.start[i + 1];
            const auto at = [&](std::int64_t column) {
                return std::lower_bound(first, last, column) - matrix.column.data();
            };
            level.near[i] = at(level.stretch[s]);
            level.own[i] = at(i);
            level.behind[i] = at(level.stretch[s + 1]);
        }
}

// Inverts the diagonal blocks, loaded where couplings to other stretches are so strong that the sweep would diverge.
void set_pivots(const BlockMatrix<double> &matrix, BlockLevel &level, Team &team) {
    const int d = matrix.height;
    level.inverse = Array<float>(std::int64_t(matrix.rows) * d * d + 1);
    level.inverse[std::int64_t(matrix.rows) * d * d] = 0.0f;
    level.load = Array<float>(level.unknowns());
    std::vector<std::int64_t> loaded(static_cast<std::size_t>(level.stretches()), 0);
    team.each(level.stretches(), [&](std::int64_t s) {
        std::vector<double> block(static_cast<std::size_t>(d) * d), inverse(block.size()), outside(static_cast<std::size_t>(d));
        for (std::int64_t i = level.stretch[s]; i < level.stretch[s + 1]; ++i) {
            std::fill(outside.begin(), outside.end(), 0.0);
            const auto visit = [&](std::int64_t e) {
                for (int c = 0; c < d; ++c)
                    for (int r = 0; r < d; ++r) outside[r] += std::abs(matrix.at(e)[c * d + r]);
            };
            for (std::int64_t e = matrix.start[i]; e < level.near[i]; ++e) visit(e);
            for (std::int64_t e = level.behind[i]; e < matrix.start[i + 1]; ++e) visit(e);
            std::copy(matrix.at(level.own[i]), matrix.at(level.own[i]) + d * d, block.begin());
            bool any = false;
            for (int r = 0; r < d; ++r) {
                const double load = 0.5 * std::max(0.0, outside[r] - outside_share * block[r * d + r]);
                level.load[i * d + r] = static_cast<float>(load);
                block[r * d + r] += load;
                any = any || load > 0.0;
            }
            loaded[s] += any;
            invert(block.data(), d, inverse.data());
            for (int c = 0; c < d * d; ++c) level.inverse[i * d * d + c] = static_cast<float>(inverse[c]);
        }
    });
    for (const std::int64_t count : loaded) level.loaded += count;
}

// The largest eigenvalue of D^-1 A, by power iterations from a fixed start.
double spectral_radius(const BlockMatrix<double> &matrix, const double *inverse, Team &team) {
    const std::int64_t n = std::int64_t(matrix.rows) * matrix.height;
    const int d = matrix.height;
    Array<double> x(n), y(n);
    std::uint64_t state = 88172645463325252ull;  // xorshift (Marsaglia 2003)
    for (std::int64_t i = 0; i < n; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        x[i] = static_cast<double>(state >> 11) * 0x1p-53 - 0.5;
    }
    const BlockRowsExact rows{matrix.start.data(), matrix.column.data(), matrix.value.data()};
    const BlockKernels &kernel = block_kernels(d);
    double radius = 1.0;
    std::vector<double> square(static_cast<std::size_t>((matrix.rows + rows_per_task - 1) / rows_per_task));
    for (int step = 0; step < power_iterations; ++step) {
        each_range(team, matrix.rows, [&](std::int64_t first, std::int64_t last) {
            kernel.product(rows, d, first, last, x.data(), y.data());
            std::vector<double> image(static_cast<std::size_t>(d));
            double sum = 0.0;
            for (std::int64_t i = first; i < last; ++i) {
                for (int a = 0; a < d; ++a) {
                    image[a] = 0.0;
                    for (int b = 0; b < d; ++b) image[a] += inverse[i * d * d + b * d + a] * y[i * d + b];
                    sum += image[a] * image[a];
                }
                std::copy(image.begin(), image.end(), y.data() + i * d);
            }
            square[first / rows_per_task] = sum;
        });
        double norm2 = 0.0;
        for (const double part : square) norm2 += part;
        radius = std::sqrt(norm2);
        if (!(radius > 0.0)) return 1.0;
        const double factor = 1.0 / radius;
        each_range(team, matrix.rows, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t i = first * d; i < last * d; ++i) x[i] = factor * y[i];
        });
    }
    return radius;
}

Array<double> inverse_diagonal(const BlockMatrix<double> &matrix, const BlockLevel &level, Team &team) {
    const int d = matrix.height;
    Array<double> inverse(std::int64_t(matrix.rows) * d * d);
    each_range(team, matrix.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) invert(matrix.at(level.own[i]), d, inverse.data() + i * d * d);
    });
    return inverse;
}

// The inverse of the Cholesky factor of the coarsest level, a lower triangle column by column. Pivots at rounding level, of
// floating bodies, get their diagonal added; the diagonal of an indefinite level is raised as a whole until it has a factor.
std::vector<double> inverse_factor(const BlockMatrix<double> &matrix, Team &team) {
    const int d = matrix.height;
    const std::int64_t n = std::int64_t(matrix.rows) * d;
    std::vector<double> a(static_cast<std::size_t>(n * n), 0.0), l, inverse(a.size(), 0.0);
    for (std::int64_t i = 0; i < matrix.rows; ++i)
        for (std::int64_t e = matrix.start[i]; e < matrix.start[i + 1]; ++e)
            for (int c = 0; c < d; ++c)
                for (int r = 0; r < d; ++r) a[(matrix.column[e] * std::int64_t(d) + c) * n + i * d + r] = matrix.at(e)[c * d + r];
    std::vector<double> diagonal(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) diagonal[i] = a[i * n + i] > 0.0 ? a[i * n + i] : 1.0;
    double shift = 1e-10;
    for (int tries = 0;; ++tries) {
        l = a;
        std::int64_t bad = dense::cholesky(l.data(), n, n, n, team.threads());
        for (std::int64_t i = 0; bad < 0 && i < n; ++i)
            if (!(l[i * n + i] * l[i * n + i] > singular * diagonal[i])) bad = i;
        if (bad < 0 || shift > largest_shift) break;
        if (tries < most_grounded) {
            a[bad * n + bad] += diagonal[bad];
            continue;
        }
        for (std::int64_t i = 0; i < n; ++i) a[i * n + i] += shift * diagonal[i];
        shift *= 10.0;
    }
    for (std::int64_t i = 0; i < n; ++i) inverse[i * n + i] = 1.0;
    dense::solve(inverse.data(), n, n, l.data(), n, n, true, team.threads());
    return inverse;
}

// out = L'^-1 L^-1 b
void solve_exactly(const std::vector<double> &inverse, std::int64_t n, const float *b, float *out) {
    std::vector<double> y(static_cast<std::size_t>(n), 0.0);
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t i = j; i < n; ++i) y[i] += inverse[j * n + i] * b[j];
    for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0.0;
        for (std::int64_t i = j; i < n; ++i) sum += inverse[j * n + i] * y[i];
        out[j] = static_cast<float>(sum);
    }
}

double largest_row_sum(const BlockMatrix<double> &matrix, Team &team) {
    const int d = matrix.height;
    std::vector<double> sums(static_cast<std::size_t>(matrix.rows) * d, 0.0);
    each_range(team, matrix.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i)
            for (std::int64_t e = matrix.start[i]; e < matrix.start[i + 1]; ++e)
                for (int c = 0; c < d * d; ++c) sums[i * d + c % d] += std::abs(matrix.at(e)[c]);
    });
    return *std::max_element(sums.begin(), sums.end());
}

}  // namespace

BlockRows BlockLevel::rows() const {
    return {matrix.start.data(), matrix.column.data(), matrix.value.data(), near.data(), own.data(), behind.data(),
            inverse.data(), load.data()};
}

BlockInterpolation BlockLevel::interpolation() const {
    return {prolongation.width, prolongation.start.data(), prolongation.column.data(), prolongation.value.data(),
            by_column.start.data(), by_column.row.data(), by_column.block.data()};
}

std::int64_t BlockLevel::bytes() const {
    return matrix.bytes() + near.bytes() + own.bytes() + behind.bytes() + inverse.bytes() + load.bytes() +
           prolongation.bytes() + by_column.start.bytes() + by_column.row.bytes() + by_column.block.bytes() +
           static_cast<std::int64_t>(8 * exact.size());
}

BlockHierarchy::BlockHierarchy(const ScalarEdges &edges, const NodePartition &partition, const double *vectors,
                               int count, Team &team) {
    place_.assign(partition.place, partition.place + edges.n);
    scale_.resize(static_cast<std::size_t>(edges.n));
    for (std::int64_t u = 0; u < edges.n; ++u) scale_[u] = nearest_power_of_two(1.0 / std::sqrt(edges.diagonal[u]));
    finest_ = gather_blocks(edges, partition, scale_.data(), team);
    norm_bound_ = largest_row_sum(finest_, team);
    NearNullSpace near_null = near_null_space(partition, vectors, count);
    BlockMatrix<double> coarse = add_level(finest_, near_null, team);
    while (coarse.rows > 0) coarse = add_level(coarse, near_null, team);
}

// Appends the level of a matrix; returns the coarse matrix, without rows where this level is the coarsest.
BlockMatrix<double> BlockHierarchy::add_level(const BlockMatrix<double> &matrix, NearNullSpace &near_null,
                                              Team &team) {
    BlockLevel level;
    level.matrix = rounded(matrix, team);
    divide(matrix, level);
    set_pivots(matrix, level, team);
    const bool small = level.unknowns() <= largest_exact;
    NodeAggregates aggregates;
    if (!small && level_.size() < most_levels) aggregates = aggregate_nodes(matrix, team);
    if (aggregates.count == 0 || aggregates.count > least_aggregation * matrix.rows) {
        if (small) level.exact = inverse_factor(matrix, team);
        level_.push_back(std::move(level));
        return {};
    }
    Interpolation interpolation = tentative_prolongation(aggregates, near_null, matrix.height, team);
    BlockMatrix<double> prolongation = std::move(interpolation.tentative);
    near_null = std::move(interpolation.coarse);
    const Array<double> inverse = inverse_diagonal(matrix, level, team);
    const double omega = smoothing / spectral_radius(matrix, inverse.data(), team);
    smooth_prolongation(matrix, inverse.data(), omega, prolongation, team);
    level.by_column =
        transposed(prolongation.start.data(), prolongation.column.data(), prolongation.rows, prolongation.columns);
    BlockMatrix<double> coarse = galerkin(matrix, prolongation, level.by_column, team);
    level.prolongation = rounded(prolongation, team);
    level_.push_back(std::move(level));
    return coarse;
}

NearNullSpace BlockHierarchy::near_null_space(const NodePartition &partition, const double *vectors,
                                              int count) const {
    NearNullSpace out;
    out.count = vectors != nullptr ? count : partition.size;
    out.value = Array<double>(padded() * out.count);
    std::fill(out.value.data(), out.value.data() + out.value.size(), 0.0);
    for (std::int64_t u = 0; u < n(); ++u)
        for (int c = 0; c < out.count; ++c) {
            const bool own = place_[u] % partition.size == c;
            const double value = vectors != nullptr ? vectors[u * count + c] : (own ? 1.0 : 0.0);
            out.value[place_[u] * out.count + c] = value / scale_[u];
        }
    return out;
}

std::int64_t BlockHierarchy::bytes() const {
    std::int64_t sum = finest_.bytes() + static_cast<std::int64_t>(16 * place_.size());
    for (const BlockLevel &level : level_) sum += level.bytes();
    return sum;
}

BlockCycle::BlockCycle(const BlockHierarchy &hierarchy, Team &team) : hierarchy_(hierarchy), team_(team) {
    for (const BlockLevel &level : hierarchy.levels())
        vector_.push_back({Array<float>(level.unknowns()), Array<float>(level.unknowns()), Array<float>(level.unknowns())});
}

void BlockCycle::run(std::size_t l, const float *b, float *out) {
    const BlockLevel &level = hierarchy_.levels()[l];
    const int d = level.matrix.height;
    if (!level.exact.empty()) {
        solve_exactly(level.exact, level.unknowns(), b, out);
        return;
    }
    const BlockKernels &kernel = block_kernels(d);
    const BlockRows rows = level.rows();
    float *x = vector_[l].x.data();
    const auto over_stretches = [&](const auto &body) {
        team_.each(level.stretches(), [&](std::int64_t s) { body(level.stretch[s], level.stretch[s + 1]); });
    };
    over_stretches([&](std::int64_t first, std::int64_t last) { kernel.forward(rows, d, first, last, b, x); });
    if (l + 1 < hierarchy_.levels().size()) {
        const BlockInterpolation p = level.interpolation();
        Vectors &next = vector_[l + 1];
        float *r = out;  // not yet in use
        over_stretches([&](std::int64_t first, std::int64_t last) { kernel.remainder(rows, d, first, last, x, r); });
        each_range(team_, level.prolongation.columns, [&](std::int64_t first, std::int64_t last) {
            kernel.restrict_rows(p, d, first, last, r, next.b.data());
        });
        run(l + 1, next.b.data(), next.out.data());
        over_stretches([&](std::int64_t first, std::int64_t last) {
            kernel.prolong(p, d, first, last, next.out.data(), x);
        });
    }
    over_stretches([&](std::int64_t first, std::int64_t last) { kernel.correct_backward(rows, d, first, last, b, x, out); });
}

}  // namespace gabp
