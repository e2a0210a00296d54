// The matrix of one level: compressed by rows while its aggregates are chosen, then in runs for the sweeps.
#pragma once

#include "common/array.hpp"
#include "common/team.hpp"
#include "hierarchy/row_kernels.hpp"

#include <cstdint>
#include <vector>

namespace gabp {

// A symmetric matrix by rows without its diagonal, columns ascending; W is the type of its couplings.
// The row sums of a Galerkin product are sums of row sums, without the cancellation of its diagonal: so nearly singular
// matrices stay positive definite on every level.
template <class W>
struct RowsView {
    std::int32_t n;
    const std::int64_t *start;
    const std::int32_t *column;
    const W *weight;
    const double *diagonal;
    const double *row_sum;
};

struct Rows {
    std::int32_t n = 0;
    Array<std::int64_t> start;
    Array<std::int32_t> column;
    Array<float> weight;
    Array<double> diagonal, row_sum;

    RowsView<float> view() const {
        return {n, start.data(), column.data(), weight.data(), diagonal.data(), row_sum.data()};
    }
};

// Below this many rows a level is one block, swept by one thread.
constexpr std::int32_t serial_rows = 10000;

// Row blocks are swept independently of each other. Their number depends on n alone, so that results are bitwise
// identical for any number of threads.
std::vector<std::int32_t> row_blocks(std::int32_t n);

struct LevelMatrix {
    std::int32_t n = 0;
    std::int64_t couplings = 0;
    std::int64_t regular_rows = 0, cross_couplings = 0, loaded_rows = 0;
    std::vector<std::int32_t> block;      // block k owns the rows [block[k], block[k + 1]) ...
    std::vector<std::int32_t> block_run;  // ... and the runs [block_run[k], block_run[k + 1])
    std::vector<SweepRun> run;
    std::vector<std::int32_t> distance;
    Array<std::int64_t> low_start, rest_start, rest_split;
    Array<std::int32_t> low_column, rest_column;
    Array<float> low, rest;
    Array<double> low_exact, rest_exact;
    Array<float> diagonal, inverse_pivot, excess;
    Array<double> diagonal_exact, norm_weight;
    Array<std::int32_t> aggregate;

    int blocks() const { return static_cast<int>(block.size()) - 1; }
    SweepView view() const;
    std::int64_t bytes() const;
};

// `exact` keeps what conjugate gradients need in float64 (the finest level).
template <class W>
LevelMatrix build_level_matrix(const RowsView<W> &rows, bool exact, Team &team);

}  // namespace gabp
