// Triangular solves by a factor in fronts, a few right-hand sides at a time.
#include "factor/dense.hpp"
#include "factor/factor.hpp"
#include "common/pool.hpp"

#include <algorithm>

namespace gabp {
namespace {

using dense::Index;

// K right-hand sides together, x (n, K) in the order of elimination.
template <int K>
void solve_lower(const Factor &factor, double *x, std::vector<double> &gathered) {
    const Symbolic &symbolic = factor.symbolic();
    for (std::int32_t s = 0; s < symbolic.fronts(); ++s) {
        const Index columns = symbolic.columns(s), rows = symbolic.rows(s), height = columns + rows;
        const double *panel = factor.panel(s);
        double *own = x + static_cast<Index>(symbolic.first[s]) * K;
        gathered.assign(rows * K, 0.0);
        double *below = gathered.data();
        for (Index j = 0; j < columns; ++j) {
            const double *column = panel + j * height;
            double *pivot = own + j * K;
            for (int k = 0; k < K; ++k) pivot[k] /= column[j];
            for (Index i = j + 1; i < columns; ++i) {
                for (int k = 0; k < K; ++k) own[i * K + k] -= column[i] * pivot[k];
            }
            column += columns;
            for (Index i = 0; i < rows; ++i) {
                for (int k = 0; k < K; ++k) below[i * K + k] += column[i] * pivot[k];
            }
        }
        const std::int32_t *row = symbolic.row.data() + symbolic.row_start[s];
        for (Index i = 0; i < rows; ++i) {
            for (int k = 0; k < K; ++k) x[static_cast<Index>(row[i]) * K + k] -= below[i * K + k];
        }
    }
}

template <int K>
void solve_upper(const Factor &factor, double *x, std::vector<double> &gathered) {
    const Symbolic &symbolic = factor.symbolic();
    for (std::int32_t s = symbolic.fronts() - 1; s >= 0; --s) {
        const Index columns = symbolic.columns(s), rows = symbolic.rows(s), height = columns + rows;
        double *own = x + static_cast<Index>(symbolic.first[s]) * K;
        gathered.resize(rows * K);
        const std::int32_t *row = symbolic.row.data() + symbolic.row_start[s];
        for (Index i = 0; i < rows; ++i) {
            for (int k = 0; k < K; ++k) gathered[i * K + k] = x[static_cast<Index>(row[i]) * K + k];
        }
        for (Index j = columns - 1; j >= 0; --j) {
            const double *column = factor.panel(s) + j * height;
            double sum[K] = {};
            for (Index i = j + 1; i < columns; ++i) {
                for (int k = 0; k < K; ++k) sum[k] += column[i] * own[i * K + k];
            }
            for (Index i = 0; i < rows; ++i) {
                for (int k = 0; k < K; ++k) sum[k] += column[columns + i] * gathered[i * K + k];
            }
            for (int k = 0; k < K; ++k) own[j * K + k] = (own[j * K + k] - sum[k]) / column[j];
        }
    }
}

template <int K>
void solve_some(const Factor &factor, double *x, Index k, Index first, bool lower, bool permuted) {
    const Symbolic &symbolic = factor.symbolic();
    const auto n = static_cast<Index>(symbolic.nodes());
    std::vector<double> work(n * K), gathered;
    for (Index i = 0; i < n; ++i) {
        const Index from = permuted ? i : symbolic.order[i];
        std::copy_n(x + from * k + first, K, work.data() + i * K);
    }
    if (lower) solve_lower<K>(factor, work.data(), gathered);
    solve_upper<K>(factor, work.data(), gathered);
    for (Index i = 0; i < n; ++i) {
        std::copy_n(work.data() + i * K, K, x + symbolic.order[i] * k + first);
    }
}

constexpr Index widest = 8;  // right-hand sides that pass over the factor together

void solve_chunk(const Factor &factor, double *x, Index k, Index first, bool lower, bool permuted) {
    switch (std::min(widest, k - first)) {
        case 8: return solve_some<8>(factor, x, k, first, lower, permuted);
        case 7: return solve_some<7>(factor, x, k, first, lower, permuted);
        case 6: return solve_some<6>(factor, x, k, first, lower, permuted);
        case 5: return solve_some<5>(factor, x, k, first, lower, permuted);
        case 4: return solve_some<4>(factor, x, k, first, lower, permuted);
        case 3: return solve_some<3>(factor, x, k, first, lower, permuted);
        case 2: return solve_some<2>(factor, x, k, first, lower, permuted);
        default: return solve_some<1>(factor, x, k, first, lower, permuted);
    }
}

void solve_all(const Factor &factor, double *x, Index k, bool lower, bool permuted, int threads) {
    const Index chunks = (k + widest - 1) / widest;
    for_chunks(threads, chunks, [&](Index chunk) { solve_chunk(factor, x, k, chunk * widest, lower, permuted); });
}

}  // namespace

void Factor::solve(double *x, std::int64_t k, int threads) const { solve_all(*this, x, k, true, false, threads); }

void Factor::solve_upper(double *x, std::int64_t k, int threads) const {
    solve_all(*this, x, k, false, true, threads);
}

}  // namespace gabp
