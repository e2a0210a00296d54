// Dense blocks in columns (entry (i, j) at [i + j * ld]): the inner kernels, compiled once per instruction set.
#pragma once

#include <cstdint>

namespace gabp::dense {

using Index = std::int64_t;

// c -= a b, or c += a b, with c (m, n) in columns and a (m, k), b (k, n) of any strides. With `lower` only the
// entries on and below the diagonal of c matter: entry (i, j) with i + offset >= j. Others may be overwritten.
struct Product {
    Index m, n, k;
    const double *a;
    Index a_row, a_column;
    const double *b;
    Index b_row, b_column;
    double *c;
    Index ld;
    double sign;  // -1 or +1
    bool lower;
    Index offset;
};

constexpr Index block_rows = 192;     // of a, packed: a multiple of every instruction set's tile height
constexpr Index block_depth = 192;
constexpr Index block_columns = 384;  // of b, packed
constexpr Index workspace_doubles = block_depth * (block_rows + block_columns);
constexpr Index narrow = 32;  // the widest triangle that the narrow kernels are given

struct Kernels {
    void (*multiply)(const Product &, double *workspace);
    // a lower triangle (n, n) in place of a symmetric matrix; the first column with a pivot <= 0, or -1
    Index (*cholesky_narrow)(double *a, Index ld, Index n);
    // x (m, n) := x l⁻ᵀ and x := x l⁻¹ for the lower triangle l
    void (*solve_transposed_narrow)(double *x, Index ldx, Index m, const double *l, Index ldl, Index n);
    void (*solve_narrow)(double *x, Index ldx, Index m, const double *l, Index ldl, Index n);
};

namespace plain {
extern const Kernels kernels;
}
namespace v3 {
extern const Kernels kernels;
}
namespace v4 {
extern const Kernels kernels;
}

}  // namespace gabp::dense
