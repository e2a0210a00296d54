// Dense factorisation and inversion of one front; bitwise identical for any number of threads.
#pragma once

#include "factor/dense_kernels.hpp"

namespace gabp::dense {

void multiply(const Product &product, int threads);

// The first n columns of a symmetric (h, h) matrix, lower triangle, become those of its Cholesky factor.
// Returns the first column with a pivot <= 0, or -1.
Index cholesky(double *a, Index ld, Index h, Index n, int threads);

// x (m, n) := x l⁻¹ for the lower triangle l. With `triangular`, x starts as the identity (m = n), and the
// result is a lower triangle.
void solve(double *x, Index ldx, Index m, const double *l, Index ldl, Index n, bool triangular, int threads);

}  // namespace gabp::dense
