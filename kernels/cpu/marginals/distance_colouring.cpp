// Colours under which nodes of one colour are far apart: greedy, each node in turn takes the first colour that
// nobody within the distance has.
#include "bindings/tensors.hpp"

#include <cstdint>
#include <vector>

namespace gabp {
namespace {

// The number of colours used, or 0 where `most` do not suffice.
std::int32_t colour_apart(const std::int64_t *start, const std::int32_t *source, std::int64_t n, std::int32_t distance,
                          std::int32_t most, std::int32_t *colour) {
    std::vector<std::int32_t> met(n, -1), taken(most, -1), ball;
    std::int32_t colours = 0;
    for (std::int32_t i = 0; i < n; ++i) {
        colour[i] = most;
        met[i] = i;
        ball.assign(1, i);
        std::size_t begin = 0;
        for (std::int32_t step = 0; step < distance && begin < ball.size(); ++step) {
            const std::size_t end = ball.size();
            for (; begin < end; ++begin) {
                for (std::int64_t e = start[ball[begin]]; e < start[ball[begin] + 1]; ++e) {
                    const std::int32_t k = source[e];
                    if (met[k] == i) continue;
                    met[k] = i;
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

void bind_colouring(nb::module_ &m) {
    m.def("colour_apart", [](Offsets start, Nodes source, std::int32_t distance, std::int32_t most,
                             Vector<std::int32_t> colour) {
        require(start.shape(0) == colour.shape(0) + 1, "start must have n + 1 entries");
        nb::gil_scoped_release release;
        return colour_apart(start.data(), source.data(), static_cast<std::int64_t>(colour.shape(0)), distance, most,
                            colour.data());
    });
}

}  // namespace gabp
