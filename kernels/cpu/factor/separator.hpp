// Vertex separators of graphs.
#pragma once

#include "factor/weighted_graph.hpp"

namespace gabp {

enum Side : std::int8_t { left, right, between };

// The side of every node: no edge joins left and right, which weigh about the same, and little is between. The same in
// every run.
std::vector<Side> find_separator(const WeightedGraph &graph);

}  // namespace gabp
