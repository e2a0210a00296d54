// Elimination orders by nested dissection.
#pragma once

#include "factor/weighted_graph.hpp"

#include <limits>
#include <vector>

namespace gabp {

// order[k] is the node to eliminate k-th: separators of the graph after the parts that they leave (George 1973), and
// parts in constrained minimum degree. Empty where the separators alone are seen to take more operations than
// most_separator_flops. The same in every run, for any number of threads.
std::vector<std::int32_t> nested_dissection_order(const CompressedGraph &compressed, double most_separator_flops,
                                                  int threads);

}  // namespace gabp
