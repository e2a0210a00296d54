// Products of block matrices: smoothing of a prolongation, and the Galerkin model on the aggregates.
#pragma once

#include "blocks/block_matrix.hpp"

namespace gabp {

// The positions of a matrix's blocks by columns.
struct TransposedPattern {
    Array<std::int64_t> start;
    Array<std::int32_t> row;
    Array<std::int64_t> block;
};

TransposedPattern transposed(const std::int64_t *start, const std::int32_t *column, std::int32_t rows,
                             std::int32_t columns);

// A P.
BlockMatrix<double> product(const BlockMatrix<double> &a, const BlockMatrix<double> &p, Team &team);

// P - omega D^-1 A P for the inverses of A's diagonal blocks, (rows, d, d) column by column.
void smooth_prolongation(const BlockMatrix<double> &a, const double *inverse, double omega, BlockMatrix<double> &p,
                         Team &team);

// P' A P, symmetric to the last bit. A coarse unknown that P leaves empty gets a unit diagonal.
BlockMatrix<double> galerkin(const BlockMatrix<double> &a, const BlockMatrix<double> &p,
                             const TransposedPattern &by_column, Team &team);

}  // namespace gabp
