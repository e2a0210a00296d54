// Elimination orders that keep the factor sparse.
#pragma once

#include "common/pattern.hpp"

#include <cstdint>
#include <limits>
#include <vector>

namespace gabp {

// order[k] is the node to eliminate k-th: approximate minimum degree. Empty where the factor takes (much) more
// operations than most_flops; detected long before the order is complete. Nodes with last[i] != 0 come after all others.
std::vector<std::int32_t> minimum_degree_order(const Pattern &pattern,
                                               double most_flops = std::numeric_limits<double>::infinity(),
                                               const std::vector<char> *last = nullptr);

// Node i stands for weight[i] unknowns with the same neighbours; those of stage 0 come first, then those of stage 1, ...
std::vector<std::int32_t> constrained_minimum_degree_order(const Pattern &pattern, std::vector<std::int32_t> weight,
                                                           std::vector<std::int32_t> stage);

// Nodes with more neighbours are eliminated last.
double dense_degree(std::int64_t nodes);

}  // namespace gabp
