// Smoothed aggregation on vector-valued nodes (Vaněk, Mandel and Brezina 1996): levels of block matrices, and the V-cycle
// through them that preconditions conjugate gradients.
#pragma once

#include "blocks/block_aggregation.hpp"
#include "blocks/block_kernels.hpp"
#include "blocks/block_products.hpp"

#include <vector>

namespace gabp {

struct BlockLevel {
    BlockMatrix<float> matrix;
    std::vector<std::int64_t> stretch;        // first row of each, and the end
    Array<std::int64_t> near, own, behind;    // see BlockRows
    Array<float> inverse, load;
    std::int64_t loaded = 0;                  // rows
    BlockMatrix<float> prolongation;          // empty on the coarsest level
    TransposedPattern by_column;
    std::vector<double> exact;                // of a small coarsest level: the inverse of its Cholesky factor

    std::int64_t unknowns() const { return std::int64_t(matrix.rows) * matrix.height; }
    std::int64_t stretches() const { return static_cast<std::int64_t>(stretch.size()) - 1; }
    BlockRows rows() const;
    BlockInterpolation interpolation() const;
    std::int64_t bytes() const;
};

class BlockHierarchy {
public:
    // vectors: near-null vectors (n, count) of A, one unknown after another; none for those that are constant on each
    // position within the nodes.
    BlockHierarchy(const ScalarEdges &edges, const NodePartition &partition, const double *vectors, int count,
                   Team &team);
    BlockHierarchy(const BlockHierarchy &) = delete;
    BlockHierarchy &operator=(const BlockHierarchy &) = delete;

    std::int64_t n() const { return static_cast<std::int64_t>(place_.size()); }
    std::int64_t padded() const { return finest_.rows * std::int64_t(finest_.height); }
    const std::vector<BlockLevel> &levels() const { return level_; }
    const BlockMatrix<double> &matrix() const { return finest_; }
    double norm_bound() const { return norm_bound_; }  // of S A S: the largest absolute row sum
    // Unknown u stands at place(u), times scale(u).
    std::int64_t place(std::int64_t u) const { return place_[u]; }
    double scale(std::int64_t u) const { return scale_[u]; }
    std::int64_t bytes() const;

private:
    BlockMatrix<double> add_level(const BlockMatrix<double> &matrix, NearNullSpace &near_null, Team &team);
    NearNullSpace near_null_space(const NodePartition &partition, const double *vectors, int count) const;

    std::vector<std::int64_t> place_;
    std::vector<double> scale_;
    BlockMatrix<double> finest_;
    std::vector<BlockLevel> level_;
    double norm_bound_ = 0.0;
};

// The vectors of one application after another.
class BlockCycle {
public:
    BlockCycle(const BlockHierarchy &hierarchy, Team &team);

    // out = B b for the fixed V-cycle B, in the places and the scaling of the hierarchy.
    void apply(const float *b, float *out) { run(0, b, out); }

private:
    struct Vectors {
        Array<float> b, x, out;
    };
    void run(std::size_t l, const float *b, float *out);

    const BlockHierarchy &hierarchy_;
    Team &team_;
    std::vector<Vectors> vector_;
};

}  // namespace gabp
