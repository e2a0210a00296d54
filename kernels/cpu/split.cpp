// From a symmetric matrix by rows to its diagonal and its edges.
#include "team.hpp"
#include "tensors.hpp"

#include <algorithm>
#include <atomic>
#include <vector>

namespace gabp {
namespace {

constexpr std::int64_t rows_per_task = 16384;

// Whether A[j, i] is stored and equals `value`; columns ascend within a row.
template <class T>
bool mirrored(const std::int64_t *start, const std::int32_t *column, const T *weight, std::int32_t i, std::int32_t j,
              T value) {
    const std::int32_t *end = column + start[j + 1];
    const std::int32_t *found = std::lower_bound(column + start[j], end, i);
    return found != end && *found == i && weight[found - column] == value;
}

// (start, source, weight, diagonal) of a matrix that equals its transpose entry by entry; None for any other.
// Stored zeros are no edges.
template <class T>
nb::object split(Offsets start_, Nodes column_, Vector<const T> value_, int threads) {
    const std::int64_t n = static_cast<std::int64_t>(start_.shape(0)) - 1;
    require(n > 0 && column_.shape(0) == value_.shape(0), "not a matrix by rows");
    const std::int64_t *start = start_.data();
    const std::int32_t *column = column_.data();
    const T *value = value_.data();
    require(start[n] == static_cast<std::int64_t>(column_.shape(0)), "not a matrix by rows");
    std::unique_ptr<std::int64_t[]> edge_start(new std::int64_t[static_cast<std::size_t>(n) + 1]);
    std::unique_ptr<std::int32_t[]> source;
    std::unique_ptr<T[]> weight, diagonal(new T[static_cast<std::size_t>(n)]);
    std::atomic<bool> symmetric{true};
    {
        nb::gil_scoped_release release;
        const Team team(threads);
        const std::int64_t tasks = (n + rows_per_task - 1) / rows_per_task;
        const auto each_row = [&](auto body) {
            team.each(tasks, [&](std::int64_t task) {
                const std::int64_t end = std::min(n, (task + 1) * rows_per_task);
                for (std::int64_t i = task * rows_per_task; i < end; ++i) body(i);
            });
        };
        each_row([&](std::int64_t i) {
            std::int64_t edges = 0;
            diagonal[i] = T(0);
            for (std::int64_t e = start[i]; e < start[i + 1]; ++e) {
                if (column[e] == i) {
                    diagonal[i] = value[e];
                    continue;
                }
                if (value[e] == T(0)) continue;
                ++edges;
                if (!mirrored(start, column, value, static_cast<std::int32_t>(i), column[e], value[e])) {
                    symmetric.store(false, std::memory_order_relaxed);
                    break;
                }
            }
            edge_start[i + 1] = edges;
        });
        if (symmetric) {
            edge_start[0] = 0;
            for (std::int64_t i = 0; i < n; ++i) edge_start[i + 1] += edge_start[i];
            source.reset(new std::int32_t[static_cast<std::size_t>(std::max<std::int64_t>(edge_start[n], 1))]);
            weight.reset(new T[static_cast<std::size_t>(std::max<std::int64_t>(edge_start[n], 1))]);
            each_row([&](std::int64_t i) {
                std::int64_t to = edge_start[i];
                for (std::int64_t e = start[i]; e < start[i + 1]; ++e)
                    if (column[e] != i && value[e] != T(0)) {
                        source[to] = column[e];
                        weight[to++] = value[e];
                    }
            });
        }
    }
    if (!symmetric) return nb::none();
    const std::int64_t edges = edge_start[n];
    return nb::make_tuple(give(std::move(edge_start), n + 1), give(std::move(source), edges),
                          give(std::move(weight), edges), give(std::move(diagonal), n));
}

}  // namespace

void bind_split(nb::module_ &m) {
    m.def("split_symmetric", &split<float>);
    m.def("split_symmetric", &split<double>);
}

}  // namespace gabp
