// Graphs whose nodes stand for several unknowns.
#pragma once

#include "common/pattern.hpp"

#include <cstdint>
#include <vector>

namespace gabp {

// Undirected and without loops, compressed by rows; each edge is there in both directions.
struct WeightedGraph {
    std::vector<std::int64_t> start{0};
    std::vector<std::int32_t> neighbour;
    std::vector<std::int32_t> coupling;  // edges of the original graph that an edge stands for
    std::vector<std::int32_t> weight;    // unknowns that a node stands for

    std::int32_t nodes() const { return static_cast<std::int32_t>(weight.size()); }
    std::int64_t degree(std::int32_t i) const { return start[i + 1] - start[i]; }
    std::int64_t total_weight() const;
    Pattern pattern() const { return {start.data(), neighbour.data(), nodes()}; }
};

// A graph in which groups of unknowns are one node each.
struct CompressedGraph {
    WeightedGraph graph;
    std::vector<std::int32_t> first;  // the unknowns of node i are member[first[i]] .. member[first[i + 1]]
    std::vector<std::int32_t> member;
};

// Joins unknowns that have the same neighbours, themselves included, and successive ones that have nearly the same.
CompressedGraph compress(const Pattern &pattern);

// The nodes listed, in that order, and the edges between them.
WeightedGraph subgraph(const WeightedGraph &graph, const std::vector<std::int32_t> &nodes);

// Node i of `graph` becomes part of node coarse[i] of `nodes`.
WeightedGraph contract(const WeightedGraph &graph, const std::vector<std::int32_t> &coarse, std::int32_t nodes);

}  // namespace gabp
