// Aggregates of strongly coupled rows, and the Galerkin product in which each aggregate is one row.
#pragma once

#include "hierarchy/level_matrix.hpp"

namespace gabp {

// kernels/torch/aggregation.py has the same values (`multigrid_constants` in the bindings).
constexpr double coupling_threshold = 0.05;   // weaker couplings, as a share of the smaller diagonal, are not matched
constexpr double mutual_threshold = 0.1;      // share of the larger diagonal from which a coupling is strong for both
constexpr double dominance_threshold = 0.6;   // rows whose couplings sum to at most this share are not aggregated
constexpr int largest_aggregate = 6;          // rows that singletons may join
constexpr double singular_diagonal = 1e-14;   // a coarse diagonal below this share of the fine ones is rounding

struct Aggregates {
    Array<std::int32_t> of;           // aggregate of each row; -1 for rows that are not aggregated
    std::vector<std::int32_t> first;  // aggregates [first[k], first[k + 1]) lie in row block k
    std::int32_t count() const { return first.empty() ? 0 : first.back(); }
};

// Double pairwise matching (Notay 2010) on -A_ij / min(A_ii, A_jj), within the row blocks. Strongly diagonally
// dominant rows are left out.
template <class W>
Aggregates find_aggregates(const RowsView<W> &rows, const std::vector<std::int32_t> &block, Team &team);

// The aggregates stored in a level; empty on the coarsest.
Aggregates aggregates_of(const LevelMatrix &matrix);

struct GalerkinProduct {
    Rows rows;
    double inner_share = 1.0;  // of the couplings' absolute sum: within aggregates
};

// P'AP for the piecewise constant prolongation P of the aggregates.
template <class W>
GalerkinProduct galerkin_product(const RowsView<W> &rows, const std::vector<std::int32_t> &block,
                                 const Aggregates &aggregates, Team &team);

}  // namespace gabp
