// The elimination sweep, a D-ILU smoother: Gaussian elimination without fill, as messages in row order and back. It
// applies ((D + L) D^-1 (D + L'))^-1, D the precision pivots, symmetric positive definite for every positive D.
#pragma once

#include "hierarchy/level_matrix.hpp"

namespace gabp {

// Smallest pivot: a share of the diagonal plus one of the absolute sum of the couplings to other blocks, or a share of
// the absolute sum of the couplings to later rows of the block, whichever is larger. Pivots below it are raised
// ("loaded").
struct PivotFloor {
    double diagonal, cross, later;
};

// kernels/torch/multigrid_levels.py has the same values (`multigrid_constants` in the bindings).
constexpr double pivot_rounding = 1e-5;  // of inverse pivots held in float32

// The operator of both halves is positive definite for any positive pivots. On diagonally dominant matrices with
// nonpositive couplings every pivot exceeds the couplings to later rows; elsewhere this floor bounds the sweeps.
constexpr PivotFloor full_sweep_floor{0.01, 0.0, 1.0};
// With the forward half before the coarse correction and the backward half after it, the smoother converges in the
// energy norm of any positive definite A if 2 D > diag(A) + |couplings between blocks|. Pivots near half the diagonal
// satisfy that but hardly smooth chains of strong couplings: 0.8 is measured.
constexpr PivotFloor half_sweep_floor{0.8, 0.5, 0.0};

// J_i = A_ii - sum_{k < i} A_ik^2 / J_k within each block, at least the floor. Fills the matrix's inverse_pivot,
// excess and loaded_rows.
template <class W>
void set_pivots(const RowsView<W> &rows, const PivotFloor &pivot_floor, LevelMatrix &matrix, Team &team);

}  // namespace gabp
