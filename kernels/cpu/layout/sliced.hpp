// The sliced layout of the directed edges (SELL-C-sigma, Kreutzer et al. 2014) and the kernels that run over it.
//
// A node's index in the layout is its *position*. Slice s holds the positions 8s .. 8s+7, one per vector lane; the edge
// from the j-th neighbour is stored in slot slice_start[s] + 8j + lane. Much longer rows, which would fill their slices
// with padding, follow all slices, each cut into *segments* of slots whose sums are added up afterwards. A padding slot
// has weight zero.
#pragma once

#include <cstdint>

namespace gabp {

constexpr int lanes = 8;
constexpr int widest_panel = 8;  // right-hand sides that travel together

struct Layout {
    const std::int64_t *slice_start;  // (slices + 1)
    const std::int32_t *column;       // (slots) position of the source
    const std::int64_t *chunk;        // (chunks + 1) slices that one task works through
    const std::int64_t *segment;      // (segments + 1) slots; multiples of `lanes`
    const std::int32_t *segment_row;  // (segments) position of the row
    const std::int64_t *row_segment;  // (long rows + 1)
    std::int64_t slices, chunks, segments, long_rows;
    std::int64_t positions() const { return slices * lanes + long_rows; }
};

// The reductions of one task, joined in the order of the tasks.
struct Report {
    double change[lanes] = {};         // largest change of a belief over two sweeps, relative to the diagonal
    std::int64_t invalid = -1;         // smallest node whose belief is not positive (or not a number)
    double square[widest_panel] = {};  // sums of squares of the residual's columns
};

// --- The arrays of each kernel. Values of sweep t - 1 are overwritten by those of t + 1. ---

// Means at the precision fixed point, K right-hand sides together; one coefficient g per slot.
template <class T>
struct MeanData {
    const T *coefficient;  // (slots)
    const T *unary;        // (positions, K) b / sqrt(J)
    const T *belief;       // (positions, K) at sweep t
    T *other;              // (positions, K) at sweep t-1, becomes t+1
    T *message;            // (slots, K) at sweep t-1, becomes t+1
};

// The same with damping: both messages of an edge are stored in its slot.
template <class T>
struct DampedData {
    const T *coefficient;
    const T *unary;
    const T *belief;
    T *other;
    T *incoming;  // (slots, K) the message to the row's node
    T *outgoing;  // (slots, K) the message from it
    T damping;
};

template <class T>
struct PrecisionData {
    const T *weight;    // (slots)
    const T *diagonal;  // (positions)
    const T *belief;    // (positions) at sweep t
    T *other;           // (positions) at sweep t-1, becomes t+1
    T *message;         // (slots) at sweep t-1, becomes t+1
    const std::int32_t *node;  // (positions) or null where position and node agree
};

// Starting values of the precision messages: P_{k->i} = -|A_ik| d_k / d_i (and its sums).
template <class T>
struct StartData {
    PrecisionData<T> precision;
    const T *scale;  // (positions) d
};

template <class T>
struct JointData {
    PrecisionData<T> precision;
    const T *unary;   // (positions, K)
    const T *belief;  // (positions, K) at sweep t
    T *other;         // (positions, K)
    T *message;       // (slots, K)
};

// g from the precision messages.
template <class T>
struct CoefficientData {
    const T *weight;
    const T *root;     // (positions) sqrt(J)
    const T *message;  // (slots) P
    T *coefficient;    // (slots) g
};

// The message of the reverse edge, from the message and belief of the sweep before, in place of the former.
template <class T>
struct ReverseData {
    const T *coefficient;
    const T *belief;  // (positions, K) at sweep t-1
    T *message;       // (slots, K) in: incoming at t-1, out: outgoing at t
};

// r = b - A x in float64. x is in position order, b and r in node order.
template <class T>
struct ResidualData {
    const T *weight;
    const T *diagonal;
    const double *x;  // (positions, stride), columns offset .. offset + K - 1 of it
    const double *b;  // (nodes, stride)
    double *r;        // (nodes, stride)
    std::int64_t stride;
    std::int64_t nodes;
    const std::int32_t *node;  // (positions), -1 for padding; null where position and node agree
};

// One kernel, compiled for one instruction set: the tasks of a sweep. `data` is the matching struct above.
struct Kernel {
    void (*slices)(const Layout &, const void *data, std::int64_t first, std::int64_t last, Report &);
    void (*segment)(const Layout &, const void *data, std::int64_t segment, double *partial);
    void (*long_row)(const Layout &, const void *data, std::int64_t row, const double *partial, Report &);
};

constexpr int panels = 4;  // panel p carries 2^p right-hand sides

// Sums over segments are kept in double, `partials` numbers for each.
constexpr int partials = widest_panel + 1;

template <class T>
struct Kernels {
    Kernel mean[panels], first_mean[panels];  // first_mean: the messages of sweep t-1 are zero and not read
    Kernel damped[panels], reverse[panels], joint[panels], residual[panels];
    Kernel precision, coefficient, start;
};

}  // namespace gabp
