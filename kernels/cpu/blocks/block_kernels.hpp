// The inner loops of the hierarchy of vector-valued nodes, compiled once per instruction set.
//
// Rows are swept in stretches that are independent of each other; couplings between stretches are treated as in a
// Jacobi iteration. Blocks stand column by column, so that a column times a number of the vector is one vector operation.
#pragma once

#include <cstdint>

namespace gabp {

// One level's matrix D + L + U + C: L and U couple rows of one stretch, C those of different stretches.
struct BlockRows {
    const std::int64_t *start;
    const std::int32_t *column;
    const float *value;
    const std::int64_t *near, *own, *behind;  // a row's first block of its stretch, its diagonal, the first beyond
    const float *inverse;                     // of the loaded diagonal blocks, D + load
    const float *load;                        // (rows, d): makes the sweep converge beside C
};

struct BlockRowsExact {
    const std::int64_t *start;
    const std::int32_t *column;
    const double *value;
};

struct BlockInterpolation {
    int width;  // coarse unknowns of an aggregate
    const std::int64_t *start;
    const std::int32_t *column;
    const float *value;
    const std::int64_t *coarse_start;  // the same blocks by columns: their rows and positions
    const std::int32_t *row;
    const std::int64_t *block;
};

struct BlockKernels {
    // x = (D + load + L)^-1 b
    void (*forward)(const BlockRows &, int d, std::int64_t first, std::int64_t last, const float *b, float *x);
    // r = b - A x for x = (D + load + L)^-1 b
    void (*remainder)(const BlockRows &, int d, std::int64_t first, std::int64_t last, const float *x, float *r);
    // out = x + (D + load + U)^-1 (b - A x)
    void (*correct_backward)(const BlockRows &, int d, std::int64_t first, std::int64_t last, const float *b,
                             const float *x, float *out);
    // Rows [first, last) of P' r
    void (*restrict_rows)(const BlockInterpolation &, int d, std::int64_t first, std::int64_t last, const float *r,
                          float *out);
    // x += P e
    void (*prolong)(const BlockInterpolation &, int d, std::int64_t first, std::int64_t last, const float *e, float *x);
    // out = A x, both in double
    void (*product)(const BlockRowsExact &, int d, std::int64_t first, std::int64_t last, const double *x, double *out);
};

// The loops for blocks of d rows, for the instructions that this processor has.
const BlockKernels &block_kernels(int d);

}  // namespace gabp
