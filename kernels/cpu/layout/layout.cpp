// Builds the sliced layout (see sliced.hpp) and converts between node order and position order.
#include "layout/layout_arrays.hpp"
#include "common/pool.hpp"

#include <algorithm>
#include <limits>

namespace gabp {
namespace {

constexpr std::int64_t window = 4096;          // rows sorted by degree together (sigma)
constexpr double padding_to_sort = 1.05;       // slots over edges above which rows are sorted
constexpr std::int64_t shortest_long_row = 64;
constexpr std::int64_t segment_slots = 1024;
constexpr std::int64_t chunk_work = 1 << 15;  // slots, a row counting as four
constexpr std::int64_t vector_grain = 1 << 14;

struct Plan {
    std::vector<std::int32_t> node;  // empty where position and node agree
    std::vector<std::int64_t> slice_start, chunk, segment, row_segment;
    std::vector<std::int32_t> segment_row;
};

std::int64_t padded(std::int64_t count) { return (count + lanes - 1) / lanes * lanes; }

// Stable, longest first, so that a slice holds rows of about the same length.
void sort_window(std::int32_t *first, std::int32_t *last, const std::int64_t *start) {
    std::stable_sort(first, last, [&](std::int32_t a, std::int32_t b) {
        return start[a + 1] - start[a] > start[b + 1] - start[b];
    });
}

class Planner {
public:
    Planner(const std::int64_t *start, std::int64_t n)
        : start_(start), n_(n), longest_(std::max(shortest_long_row, 4 * (start[n] / n + 1))) {}

    Plan run(int threads) {
        const bool sorted = find_long_rows();
        short_rows_ = n_ - static_cast<std::int64_t>(long_rows_.size());
        if (sorted || !long_rows_.empty()) order_rows(sorted, threads);
        cut_segments(cut_slices());
        return std::move(plan_);
    }

private:
    std::int64_t degree(std::int64_t i) const { return start_[i + 1] - start_[i]; }
    std::int64_t slices() const { return padded(short_rows_) / lanes; }

    // Whether sorting the other rows saves enough padding.
    bool find_long_rows() {
        std::int64_t natural_slots = 0, short_slots = 0;
        for (std::int64_t first = 0; first < n_; first += lanes) {
            std::int64_t widest = 0;
            for (std::int64_t i = first; i < std::min(first + lanes, n_); ++i) {
                if (degree(i) > longest_) {
                    long_rows_.push_back(static_cast<std::int32_t>(i));
                } else {
                    short_slots += degree(i);
                    widest = std::max(widest, degree(i));
                }
            }
            natural_slots += widest * lanes;
        }
        return static_cast<double>(natural_slots) >
               padding_to_sort * static_cast<double>(short_slots) + lanes * widest_panel;
    }

    void order_rows(bool sorted, int threads) {
        plan_.node.reserve(static_cast<std::size_t>(padded(short_rows_)) + long_rows_.size());
        for (std::int64_t i = 0; i < n_; ++i)
            if (degree(i) <= longest_) plan_.node.push_back(static_cast<std::int32_t>(i));
        if (sorted)
            for_ranges(threads, short_rows_, window, [&](std::int64_t first, std::int64_t last) {
                sort_window(plan_.node.data() + first, plan_.node.data() + last, start_);
            });
        plan_.node.resize(static_cast<std::size_t>(padded(short_rows_)), -1);
        plan_.node.insert(plan_.node.end(), long_rows_.begin(), long_rows_.end());
    }

    // Returns the number of slots in all slices.
    std::int64_t cut_slices() {
        plan_.slice_start.resize(static_cast<std::size_t>(slices()) + 1, 0);
        plan_.chunk.push_back(0);
        std::int64_t slot = 0, work = 0;
        for (std::int64_t s = 0; s < slices(); ++s) {
            std::int64_t widest = 0;
            for (std::int64_t p = s * lanes; p < (s + 1) * lanes; ++p) {
                const std::int64_t i = plan_.node.empty() ? (p < n_ ? p : -1) : plan_.node[static_cast<std::size_t>(p)];
                if (i >= 0) widest = std::max(widest, degree(i));
            }
            slot += widest * lanes;
            work += (widest + 4) * lanes;
            plan_.slice_start[static_cast<std::size_t>(s) + 1] = slot;
            if (work >= chunk_work || s + 1 == slices()) {
                plan_.chunk.push_back(s + 1);
                work = 0;
            }
        }
        return slot;
    }

    void cut_segments(std::int64_t slot) {
        plan_.segment.push_back(slot);
        plan_.row_segment.push_back(0);
        for (std::size_t r = 0; r < long_rows_.size(); ++r) {
            const std::int64_t position = slices() * lanes + static_cast<std::int64_t>(r);
            for (std::int64_t left = padded(degree(long_rows_[r])); left > 0; left -= segment_slots) {
                slot += std::min(left, segment_slots);
                plan_.segment.push_back(slot);
                plan_.segment_row.push_back(static_cast<std::int32_t>(position));
            }
            plan_.row_segment.push_back(static_cast<std::int64_t>(plan_.segment_row.size()));
        }
    }

    const std::int64_t *start_;
    const std::int64_t n_, longest_;  // rows of more edges are long
    std::int64_t short_rows_ = 0;
    std::vector<std::int32_t> long_rows_;
    Plan plan_;
};

// Calls visit(slot, position, e) for each slot of the layout: e is the directed edge stored there, or -1 for padding.
// Padding refers to the row itself, so that its values are finite whenever the row's are.
template <class Visit>
void for_slots(const Layout &layout, const std::int32_t *node, const std::int64_t *start, std::int64_t n,
               int threads, const Visit &visit) {
    for_chunks(threads, layout.chunks, [&](std::int64_t chunk) {
        for (std::int64_t s = layout.chunk[chunk]; s < layout.chunk[chunk + 1]; ++s) {
            const std::int64_t begin = layout.slice_start[s], end = layout.slice_start[s + 1];
            for (int l = 0; l < lanes; ++l) {
                const std::int64_t p = s * lanes + l;
                const std::int64_t i = node != nullptr ? node[p] : (p < n ? p : -1);
                std::int64_t e = i < 0 ? 0 : start[i];
                const std::int64_t stop = i < 0 ? 0 : start[i + 1];
                for (std::int64_t slot = begin + l; slot < end; slot += lanes, ++e)
                    visit(slot, p, e < stop ? e : -1);
            }
        }
    });
    for_chunks(threads, layout.long_rows, [&](std::int64_t row) {
        const std::int64_t p = layout.slices * lanes + row;
        std::int64_t e = start[node[p]];
        const std::int64_t stop = start[node[p] + 1];
        const std::int64_t begin = layout.segment[layout.row_segment[row]];
        const std::int64_t end = layout.segment[layout.row_segment[row + 1]];
        for (std::int64_t slot = begin; slot < end; ++slot, ++e) visit(slot, p, e < stop ? e : -1);
    });
}

template <class T>
void fill_layout(const Layout &layout, const std::int32_t *node, const std::int64_t *start,
                 const std::int32_t *source, const T *weight, std::int64_t n, std::int32_t *column, T *value,
                 int threads) {
    std::vector<std::int32_t> position;
    if (node != nullptr) {
        position.resize(static_cast<std::size_t>(n));
        for_ranges(threads, layout.positions(), vector_grain, [&](std::int64_t first, std::int64_t last) {
            for (std::int64_t p = first; p < last; ++p)
                if (node[p] >= 0) position[static_cast<std::size_t>(node[p])] = static_cast<std::int32_t>(p);
        });
    }
    for_slots(layout, node, start, n, threads, [&](std::int64_t slot, std::int64_t p, std::int64_t e) {
        if (e >= 0) {
            column[slot] = node == nullptr ? source[e] : position[static_cast<std::size_t>(source[e])];
            value[slot] = weight[e];
        } else {
            // A padding position has no node; without a map the vectors may end before it.
            column[slot] = static_cast<std::int32_t>(node == nullptr && p >= n ? 0 : p);
            value[slot] = T(0);
        }
    });
}

// (nodes, stride) -> (positions, K): columns offset .. offset + K - 1, each row divided by its divisor (if any).
template <class T>
void to_positions(const std::int32_t *node, const double *values, std::int64_t n, std::int64_t stride,
                  const T *divisor, T *out, std::int64_t positions, std::int64_t width, T filler, int threads) {
    for_ranges(threads, positions, vector_grain, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t p = first; p < last; ++p) {
            const std::int64_t i = node != nullptr ? node[p] : (p < n ? p : -1);
            for (std::int64_t c = 0; c < width; ++c) {
                if (i < 0) out[p * width + c] = filler;
                else if (divisor == nullptr) out[p * width + c] = static_cast<T>(values[i * stride + c]);
                else out[p * width + c] = static_cast<T>(values[i * stride + c] / static_cast<double>(divisor[p]));
            }
        }
    });
}

// (positions, K) -> columns of (nodes, stride), each row divided by its divisor; zero where that is zero.
template <class T>
void to_nodes(const std::int32_t *node, const T *values, std::int64_t n, std::int64_t stride, const T *divisor,
              double *out, std::int64_t positions, std::int64_t width, int threads) {
    for_ranges(threads, positions, vector_grain, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t p = first; p < last; ++p) {
            const std::int64_t i = node != nullptr ? node[p] : (p < n ? p : -1);
            if (i < 0) continue;
            for (std::int64_t c = 0; c < width; ++c) {
                const double value = static_cast<double>(values[p * width + c]);
                if (divisor == nullptr) out[i * stride + c] = value;
                else out[i * stride + c] = divisor[p] == T(0) ? 0.0 : value / static_cast<double>(divisor[p]);
            }
        }
    });
}

template <class T>
const T *optional(const Vector<const T> &values) {
    return values.shape(0) > 0 ? values.data() : nullptr;
}

template <class T>
void bind(nb::module_ &m) {
    m.def("fill_layout", [](nb::tuple layout, nb::object node, Offsets start, Nodes source,
                            Vector<const T> weight, nb::object column, nb::object value, int threads) {
        const LayoutArrays arrays(layout);
        const auto nodes = take<Nodes>(node);
        const auto columns = take<Vector<std::int32_t>>(column);
        const auto values = take<Vector<T>>(value);
        const auto n = static_cast<std::int64_t>(start.shape(0)) - 1;
        nb::gil_scoped_release release;
        fill_layout<T>(arrays.view, node_map(nodes), start.data(), source.data(), weight.data(), n, columns.data(),
                       values.data(), threads);
    });
    m.def("to_positions", [](nb::object node, nb::object values, std::int64_t offset, Vector<const T> divisor,
                             nb::object out, T filler, int threads) {
        const auto nodes = take<Nodes>(node);
        const auto from = take<Columns<const double>>(values);
        const auto to = take<Columns<T>>(out);
        const auto width = static_cast<std::int64_t>(to.shape(1)), stride = static_cast<std::int64_t>(from.shape(1));
        require(offset >= 0 && offset + width <= stride, "columns out of range");
        nb::gil_scoped_release release;
        to_positions<T>(node_map(nodes), from.data() + offset, static_cast<std::int64_t>(from.shape(0)), stride,
                        optional(divisor), to.data(), static_cast<std::int64_t>(to.shape(0)), width, filler, threads);
    });
    m.def("to_nodes", [](nb::object node, Columns<const T> values, Vector<const T> divisor, nb::object out,
                         std::int64_t offset, int threads) {
        const auto nodes = take<Nodes>(node);
        const auto to = take<Columns<double>>(out);
        const auto width = static_cast<std::int64_t>(values.shape(1)), stride = static_cast<std::int64_t>(to.shape(1));
        require(offset >= 0 && offset + width <= stride, "columns out of range");
        nb::gil_scoped_release release;
        to_nodes<T>(node_map(nodes), values.data(), static_cast<std::int64_t>(to.shape(0)), stride, optional(divisor),
                    to.data() + offset, static_cast<std::int64_t>(values.shape(0)), width, threads);
    });
    m.def("to_edges", [](nb::tuple layout, nb::object node, Offsets start, Vector<const T> values,
                             nb::object out, int threads) {
        const LayoutArrays arrays(layout);
        const auto nodes = take<Nodes>(node);
        const auto to = take<Vector<T>>(out);
        const auto n = static_cast<std::int64_t>(start.shape(0)) - 1;
        nb::gil_scoped_release release;
        for_slots(arrays.view, node_map(nodes), start.data(), n, threads,
                  [&](std::int64_t slot, std::int64_t, std::int64_t e) {
                      if (e >= 0) to.data()[e] = values.data()[slot];
                  });
    });
}

}  // namespace

void bind_layout(nb::module_ &m) {
    m.def("plan_layout", [](Offsets start, int threads) {
        const auto n = static_cast<std::int64_t>(start.shape(0)) - 1;
        require(n > 0, "a layout needs at least one node");
        require(n < std::numeric_limits<std::int32_t>::max() - window, "too many nodes for 32-bit indices");
        Plan plan;
        {
            nb::gil_scoped_release release;
            plan = Planner(start.data(), n).run(threads);
        }
        return nb::make_tuple(give(std::move(plan.node)), give(std::move(plan.slice_start)),
                              give(std::move(plan.chunk)), give(std::move(plan.segment)),
                              give(std::move(plan.segment_row)), give(std::move(plan.row_segment)));
    });
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
