// Symbolic analysis of a sparse Cholesky factor, from the pattern alone.
#pragma once

#include "factor/ordering.hpp"

namespace gabp {

// The elimination tree of a pattern under an order, relabelled so that children come right before parents.
struct EliminationTree {
    std::vector<std::int32_t> order;    // order[k]: the node eliminated k-th
    std::vector<std::int32_t> inverse;  // the other way
    std::vector<std::int32_t> parent;   // -1 for roots
    std::vector<std::int32_t> count;    // entries of each column of the factor, the diagonal included

    double entries() const;
    double flops() const;
};

EliminationTree eliminate_symbolically(const Pattern &pattern, std::vector<std::int32_t> order);

// Columns of the same (or, where that adds few zeros, similar) structure form a front.
// Front s holds the columns first[s] .. first[s + 1] and, below them, the rows row[row_start[s]] ...
struct Symbolic {
    std::vector<std::int32_t> order, inverse;
    std::vector<std::int32_t> first;
    std::vector<std::int64_t> row_start;
    std::vector<std::int32_t> row;
    std::vector<std::int32_t> parent;
    std::vector<std::int32_t> child_start, child;
    std::vector<std::int64_t> panel_start;  // of the front's (columns + rows) x columns block of the factor
    // Two stages: disjoint subtrees in parallel, each front by one thread, then the fronts above them in order, each by
    // all threads. The division depends on the matrix alone.
    std::vector<std::int32_t> subtree_root;  // the largest first
    std::vector<std::int32_t> subtree_first;  // a subtree is the fronts subtree_first[t] .. subtree_root[t]
    std::vector<std::int32_t> top;
    double entries = 0;  // of the factor's lower triangle, without the zeros that fronts add
    double flops = 0;
    double peak_bytes = 0;  // predicted, of factor and selected inverse with a few threads

    std::int32_t nodes() const { return static_cast<std::int32_t>(order.size()); }
    std::int32_t fronts() const { return static_cast<std::int32_t>(parent.size()); }
    std::int64_t columns(std::int32_t s) const { return first[s + 1] - first[s]; }
    std::int64_t rows(std::int32_t s) const { return row_start[s + 1] - row_start[s]; }
    std::int64_t height(std::int32_t s) const { return columns(s) + rows(s); }
};

// `width`: unknowns that a node of the pattern stands for, on average.
Symbolic analyse_fronts(const Pattern &pattern, EliminationTree tree, double width = 1);

}  // namespace gabp
