// Vertex separators of graphs.
#pragma once

#include "factor/weighted_graph.hpp"

namespace gabp {

enum Side : std::int8_t { left, right, between };

// Of the weight of a graph; a separator that is heavier is none to speak of.
constexpr double heaviest_separator = 1.0 / 3;

// The side of every node: no edge joins left and right, which weigh about the same, and little is between. Empty where
// no light separator is found. The same in every run.
std::vector<Side> find_separator(const WeightedGraph &graph);

}  // namespace gabp
