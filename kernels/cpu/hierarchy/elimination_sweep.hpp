// The elimination sweep: Gaussian elimination without fill, as messages in row order and back. As a matrix it
// is ((D + L) D^-1 (D + L'))^-1, D the precision pivots, symmetric positive definite for every positive D.
#pragma once

#include "hierarchy/level_matrix.hpp"

namespace gabp {

// How low a pivot may fall before its row is loaded, in units of the row's diagonal, of the absolute sum of its
// couplings to other blocks, and of that to later rows of its block.
struct Loading {
    double diagonal, cross, later;
};

// The whole operator is positive definite for any positive pivots. On a diagonally dominant model with
// nonpositive couplings every pivot exceeds the couplings to later rows; elsewhere this keeps sweeps bounded.
constexpr Loading whole_sweep{0.01, 0.0, 1.0};
// Half a sweep on the way down and the other half on the way up contract the error in the energy norm of any
// positive definite A if 2 D > diag(A) + |couplings across blocks|. Pivots near half the diagonal would satisfy
// that and yet hardly smooth where the strong couplings form chains: 0.8 is measured.
constexpr Loading half_sweep{0.8, 0.5, 0.0};

// J_i = A_ii - sum_{k < i} A_ik^2 / J_k within each block, loaded where it falls too low.
template <class W>
void set_pivots(const RowsView<W> &rows, const Loading &loading, ModelMatrix &matrix, Team &team);

}  // namespace gabp
