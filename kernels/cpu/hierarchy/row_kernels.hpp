// The inner_share loops of the hierarchy: elimination sweeps, residuals and products over the rows of one block.
//
// Rows are kept in runs. A regular run is a window of rows whose neighbours sit at the same distances: it
// stores the distances once and its couplings distance by distance, so its loops need no index and vectorise.
// An irregular run stores a column per coupling. Within a row the couplings are split by what a sweep knows:
// `lower` (earlier rows of the block), `cross` (rows of other blocks), `upper` (later rows of the block).
// Vectors are (n, K), row by row: K right-hand sides share every pass over the matrix.
#pragma once

#include <cstdint>

namespace gabp {

constexpr int chunk_rows = 256;  // rows whose partial sums stay in the first-level cache

struct SweepRun {
    std::int32_t begin, end;
    std::int32_t lower, cross, upper;  // couplings per row (regular runs)
    std::int32_t regular;
    std::int64_t pattern;    // regular: its first distance; irregular: its first row pointer
    std::int64_t low, rest;  // its first coupling in each of the two stores
};

// The arrays of a LevelMatrix.
struct SweepView {
    const SweepRun *run;
    const std::int32_t *distance;
    const std::int64_t *low_start, *rest_start, *rest_split;  // irregular rows; split: the first upper coupling
    const std::int32_t *low_column, *rest_column;
    const float *low, *rest;
    const double *low_exact, *rest_exact;  // null where float32 holds every coupling exactly
    const float *diagonal, *inverse_pivot;
    const float *excess;            // pivot - diagonal
    const double *diagonal_exact;   // null on coarse levels
    const std::int32_t *aggregate;  // -1: not aggregated; null on the coarsest level
    const double *norm_weight;      // of a row's residual in the norm, where rows are scaled; or null
};

// The vectors and coefficients of conjugate gradients on the finest level; alpha and beta have K entries.
struct CGVectors {
    double *solution, *residual, *direction, *image;  // image = A direction
    const double *alpha, *beta;
};

// The user's matrix, couplings compressed by rows; one of the two weights is null.
struct CsrView {
    const std::int64_t *start;
    const std::int32_t *column;
    const float *weight_float;
    const double *weight_double;
    const double *diagonal;
    const float *inverse;  // of the diagonal
};

constexpr int product_dots = 5;    // c'Ac, c'r, o'Ac, |Ac|^2, |r|^2
constexpr int direction_dots = 5;  // p'Ap, p'r, |p|^2, |Ap|^2, r'Ap; the last two weighted for the norm
constexpr int csr_dots = 2;       // p'Ap, |p|^2 and |r|^2, z'Ap

// Each works on the runs [first, last) of one block; sums are per column and start from zero.
struct RowKernels {
    // x = (D + L)^-1 b
    void (*forward)(const SweepView &, int first, int last, const float *b, float *x);
    // solution += alpha p, residual -= alpha Ap, b = residual, norm2 = |residual|^2 weighted, x = (D + L)^-1 b
    void (*advance_forward)(const SweepView &, int first, int last, const CGVectors &, float *b, float *x,
                            double *norm2);
    // x = (D + L')^-1 D y in place
    void (*backward)(const SweepView &, int first, int last, float *x);
    // coarse += P'(b - A x), where (D + L) x = b
    void (*restrict_residual)(const SweepView &, int first, int last, const float *x, float *coarse);
    // x += P e
    void (*prolong)(const SweepView &, int begin, int end, const float *e, float *x);
    // z = x + (D + L')^-1 (b - A x)
    void (*correct_backward)(const SweepView &, int first, int last, const float *b, const float *x, float *z);
    // image = A c and product_dots sums
    void (*product)(const SweepView &, int first, int last, const float *c, const float *r, const float *o,
                    float *image, double *dots);
    // Ap = A z + beta Ap, p = z + beta p and direction_dots sums
    void (*advance_direction)(const SweepView &, int first, int last, const CGVectors &, const float *z,
                              double *dots);
    // With the Jacobi preconditioner z = r / diagonal, on the rows [begin, end):
    // image = A p and the sums p'Ap, |p|^2
    void (*csr_product)(const CsrView &, int begin, int end, const float *p, double *image, double *dots);
    // solution += alpha p, residual -= alpha image, and the sums |r|^2, z'Ap
    void (*csr_advance)(const CsrView &, int begin, int end, const double *alpha, const float *p,
                         const double *image, double *solution, double *residual, double *dots);
    // p = z + beta p and the sum p'r
    void (*csr_direction)(const CsrView &, int begin, int end, const double *beta, const double *residual, float *p,
                           double *dots);
    // y = sum of x'y over rows [begin, end), one float32 and one float64 vector
    void (*dot)(int begin, int end, const float *x, const double *y, double *sum);
    // |x|^2 over rows [begin, end), weighted where weight is not null
    void (*norm2)(int begin, int end, const double *weight, const double *x, double *sum);
    // y -= a x
    void (*subtract)(int begin, int end, const float *a, const float *x, float *y);
    // y = a x + b z
    void (*combine)(int begin, int end, const float *a, const float *x, const float *b, const float *z, float *y);
    // x'y, and y -= a x, of `count` numbers: the rows of an envelope
    double (*row_dot)(const double *x, const double *y, std::int64_t count);
    void (*row_subtract)(double a, const double *x, double *y, std::int64_t count);
};

// The number of columns that the loops are compiled for: 1, 2, 4 or 8.
inline int padded_columns(int columns) { return columns <= 1 ? 1 : columns <= 2 ? 2 : columns <= 4 ? 4 : 8; }

// Loops for K = 1, 2, 4 or 8 columns, in the instruction set of this processor.
const RowKernels &row_kernels(int columns);

}  // namespace gabp
