// Greedy distance-k colouring: each node in turn gets the first colour that no node within the distance has.
#include "bindings/tensors.hpp"

#include <cstdint>
#include <vector>

namespace gabp {
namespace {

// The number of colours used, or 0 where `most` do not suffice.
std::int32_t distance_colouring(const Pattern &graph, std::int32_t distance, std::int32_t most, std::int32_t *colour) {
    std::vector<std::int32_t> reached(graph.n, -1), taken(most, -1), ball;
    std::int32_t colours = 0;
    for (std::int32_t i = 0; i < graph.n; ++i) {
        colour[i] = most;
        reached[i] = i;
        ball.assign(1, i);
        std::size_t begin = 0;
        for (std::int32_t step = 0; step < distance && begin < ball.size(); ++step) {
            const std::size_t end = ball.size();
            for (; begin < end; ++begin) {
                for (std::int64_t e = graph.start[ball[begin]]; e < graph.start[ball[begin] + 1]; ++e) {
                    const std::int32_t k = graph.source[e];
                    if (reached[k] == i) continue;
                    reached[k] = i;
                    ball.push_back(k);
                    if (k < i) taken[colour[k]] = i;
                }
            }
        }
        std::int32_t free = 0;
        while (free < most && taken[free] == i) ++free;
        if (free == most) return 0;
        colour[i] = free;
        if (free >= colours) colours = free + 1;
    }
    return colours;
}

}  // namespace

void bind_distance_colouring(nb::module_ &m) {
    m.def("colour_apart", [](Offsets start, Nodes source, std::int32_t distance, std::int32_t most,
                             Vector<std::int32_t> colour) {
        const Pattern graph = pattern_of(start, source);
        require(graph.n == static_cast<std::int64_t>(colour.shape(0)), "start must have n + 1 entries");
        nb::gil_scoped_release release;
        return distance_colouring(graph, distance, most, colour.data());
    });
}

}  // namespace gabp
