// The layout as passed from Python: (slice_start, column, chunk, segment, segment_row, row_segment).
#pragma once

#include "layout/sliced.hpp"
#include "bindings/tensors.hpp"

namespace gabp {

struct LayoutArrays {
    Offsets slice_start;
    Nodes column;
    Offsets chunk, segment;
    Nodes segment_row;
    Offsets row_segment;
    Layout view;

    explicit LayoutArrays(const nb::tuple &arrays)
        : slice_start(take<Offsets>(arrays[0])), column(take<Nodes>(arrays[1])), chunk(take<Offsets>(arrays[2])),
          segment(take<Offsets>(arrays[3])), segment_row(take<Nodes>(arrays[4])),
          row_segment(take<Offsets>(arrays[5])),
          view{slice_start.data(), column.data(), chunk.data(), segment.data(), segment_row.data(),
               row_segment.data(), last(slice_start), last(chunk), last(segment), last(row_segment)} {}

private:
    static std::int64_t last(const Offsets &offsets) { return static_cast<std::int64_t>(offsets.shape(0)) - 1; }
};

// The node of each position, or null where they agree.
inline const std::int32_t *node_map(const Nodes &node) { return node.shape(0) > 0 ? node.data() : nullptr; }

}  // namespace gabp
