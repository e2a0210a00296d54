// Sparse matrices of dense blocks (BSR): the models of vector-valued nodes.
#pragma once

#include "common/array.hpp"
#include "common/team.hpp"

#include <cstdint>
#include <type_traits>
#include <vector>

namespace gabp {

// Blocks of height × width numbers, each stored column by column; the columns of a row ascend.
template <class T>
struct BlockMatrix {
    std::int32_t rows = 0, columns = 0;
    int height = 0, width = 0;
    Array<std::int64_t> start;
    Array<std::int32_t> column;
    Array<T> value;

    std::int64_t blocks() const { return rows > 0 ? start[rows] : 0; }
    std::int64_t block_size() const { return std::int64_t(height) * width; }
    const T *at(std::int64_t e) const { return value.data() + e * block_size(); }
    T *at(std::int64_t e) { return value.data() + e * block_size(); }
    std::int64_t bytes() const { return start.bytes() + column.bytes() + value.bytes(); }
};

// A matrix of scalar directed edges, both directions stored, and the unknowns of each node.
struct ScalarEdges {
    std::int64_t n;
    const std::int64_t *start;
    const std::int32_t *source;
    const double *weight, *diagonal;
};

struct NodePartition {
    std::int32_t nodes;
    int size;                     // unknowns of the largest node
    const std::int64_t *member;   // (nodes, size): unknowns, -1 beyond the end of a smaller node
    const std::int64_t *place;    // (n,): node * size + position of each unknown
};

// S A S in blocks, S the powers of two `scale` (n,); unit diagonal where a node has no unknown. The diagonal block of
// every row is stored.
BlockMatrix<double> gather_blocks(const ScalarEdges &edges, const NodePartition &partition, const double *scale,
                                  Team &team);

BlockMatrix<float> rounded(const BlockMatrix<double> &matrix, Team &team);

constexpr std::int64_t rows_per_task = 512;

// team.each over ranges of rows: body(first, last).
template <class Body>
void each_range(Team &team, std::int64_t rows, const Body &body) {
    team.each((rows + rows_per_task - 1) / rows_per_task, [&](std::int64_t task) {
        const std::int64_t first = task * rows_per_task;
        body(first, first + rows_per_task < rows ? first + rows_per_task : rows);
    });
}

// Calls run with the block height as a compile-time constant, or 0 for sizes that are not specialised.
template <class Run>
auto with_size(int d, Run run) {
    switch (d) {
        case 1: return run(std::integral_constant<int, 1>());
        case 2: return run(std::integral_constant<int, 2>());
        case 3: return run(std::integral_constant<int, 3>());
        case 6: return run(std::integral_constant<int, 6>());
        default: return run(std::integral_constant<int, 0>());
    }
}

template <int D>
constexpr int size_or(int dynamic) {
    return D > 0 ? D : dynamic;
}

}  // namespace gabp
