// Elimination orders that keep the factor sparse.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace gabp {

// A symmetric pattern without diagonal, compressed by rows; borrowed, not owned.
struct Pattern {
    const std::int64_t *start;
    const std::int32_t *source;
    std::int32_t n;
};

// order[k] is the node to eliminate k-th: approximate minimum degree. Empty where the factor takes (much) more
// operations than most_flops, which is noticed long before the order is complete.
std::vector<std::int32_t> minimum_degree_order(const Pattern &pattern,
                                               double most_flops = std::numeric_limits<double>::infinity());

}  // namespace gabp
