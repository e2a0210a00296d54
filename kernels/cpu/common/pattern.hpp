// The pattern of a symmetric matrix.
#pragma once

#include <cstdint>

namespace gabp {

// Without its diagonal, compressed by rows, sources ascending: the directed edges into each node. Borrowed, not owned.
struct Pattern {
    const std::int64_t *start;
    const std::int32_t *source;
    std::int64_t n;
    const std::int64_t *reverse = nullptr;  // the edge in the other direction, of each edge; null where not needed

    std::int64_t degree(std::int64_t i) const { return start[i + 1] - start[i]; }
    std::int64_t count() const { return start[n]; }
};

}  // namespace gabp
