// Aggregates of vector-valued nodes, and the prolongation that interpolates near-null vectors on them exactly.
#pragma once

#include "blocks/block_matrix.hpp"

#include <vector>

namespace gabp {

struct NodeAggregates {
    std::vector<std::int32_t> of;  // the aggregate of each node
    std::int32_t count = 0;
};

// Strongly coupled neighbourhoods (Vaněk, Mandel and Brezina 1996, algorithm 5.1). A coupling is measured by its
// Frobenius norm over the geometric mean of those of both diagonal blocks, and is strong beside the strongest ones of
// its two nodes: an aggregate that parted nodes tied together by a penalty would pay for it.
NodeAggregates aggregate_nodes(const BlockMatrix<double> &matrix, Team &team);

// Near-null vectors on the nodes: (rows of the matrix × height, count), one unknown after another.
struct NearNullSpace {
    int count = 0;
    Array<double> value;
};

struct Interpolation {
    BlockMatrix<double> tentative;  // one block a row, orthonormal columns within each aggregate
    NearNullSpace coarse;           // the near-null vectors on the aggregates
};

// The tentative prolongation: the near-null vectors of each aggregate, orthonormalised. A vector that depends on those
// before it within an aggregate leaves a column of zeros.
Interpolation tentative_prolongation(const NodeAggregates &aggregates, const NearNullSpace &vectors, int height,
                                     Team &team);

}  // namespace gabp
