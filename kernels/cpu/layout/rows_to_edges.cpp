// From a matrix compressed by rows to the directed edges and diagonal of a graph.
#include "common/array.hpp"
#include "layout/rows.hpp"

#include <atomic>
#include <numeric>
#include <vector>

namespace gabp {
namespace {

template <class T>
struct Transpose {
    std::vector<std::int64_t> start;
    std::vector<std::int32_t> column;
    std::vector<T> value;

    explicit Transpose(const CompressedRows<T> &rows)
        : start(static_cast<std::size_t>(rows.n) + 1, 0), column(static_cast<std::size_t>(rows.start[rows.n])),
          value(column.size()) {
        for (std::size_t e = 0; e < column.size(); ++e) ++start[static_cast<std::size_t>(rows.column[e]) + 1];
        std::partial_sum(start.begin(), start.end(), start.begin());
        std::vector<std::int64_t> next(start.begin(), start.end() - 1);
        for (std::int64_t i = 0; i < rows.n; ++i)
            for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
                const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(rows.column[e])]++);
                column[at] = static_cast<std::int32_t>(i);
                value[at] = rows.value[e];
            }
    }
    CompressedRows<T> rows() const {
        return {start.data(), column.data(), value.data(), static_cast<std::int64_t>(start.size()) - 1};
    }
};

// Calls visit(j, A_ij, A_ji) over the union of row i and column i, ascending in j.
template <class T, class Visit>
void merge_row(const CompressedRows<T> &rows, const CompressedRows<T> &transpose, std::int64_t i, const Visit &visit) {
    std::int64_t e = rows.start[i], f = transpose.start[i];
    const std::int64_t e_end = rows.start[i + 1], f_end = transpose.start[i + 1];
    while (e < e_end || f < f_end) {
        const std::int32_t here = e < e_end ? rows.column[e] : transpose.column[f];
        const std::int32_t there = f < f_end ? transpose.column[f] : here;
        const std::int32_t j = std::min(here, there);
        const T forward = e < e_end && rows.column[e] == j ? rows.value[e++] : T(0);
        const T backward = f < f_end && transpose.column[f] == j ? transpose.value[f++] : T(0);
        visit(j, forward, backward);
    }
}

template <class T>
struct DirectedEdges {
    Array<std::int64_t> start;
    Array<std::int32_t> source;
    Array<T> weight;
    Array<T> diagonal;

    DirectedEdges() = default;
    DirectedEdges(std::int64_t n, std::int64_t edges, bool with_diagonal)
        : start(n + 1), source(edges), weight(edges), diagonal(with_diagonal ? n : 0) {}

    // Uninitialised, with count(i) edges in row i.
    template <class Count>
    static DirectedEdges counted(const RowTasks<std::int64_t> &tasks, std::int64_t n, int threads, bool with_diagonal,
                                 const Count &count) {
        Array<std::int64_t> start(n + 1);
        start[0] = 0;
        for_rows(threads, tasks, [&](std::int64_t, std::int64_t i) { start[i + 1] = count(i); });
        std::partial_sum(start.data(), start.data() + n + 1, start.data());
        DirectedEdges edges(n, start[n], with_diagonal);
        edges.start = std::move(start);
        return edges;
    }
};

// The edges of an exactly symmetric matrix that stores its whole diagonal: row i begins i entries earlier. `complete`
// becomes false where a diagonal entry is missing.
template <class T>
DirectedEdges<T> split_complete(const CompressedRows<T> &rows, int threads, bool &complete) {
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    DirectedEdges<T> edges(rows.n, rows.start[rows.n] - rows.n, true);
    std::atomic<bool> found{true};
    edges.start[rows.n] = rows.start[rows.n] - rows.n;
    for_chunks(threads, tasks.count(), [&](std::int64_t task) {
        if (!found.load(std::memory_order_relaxed)) return;
        const std::int64_t last = tasks.last(task);
        for (std::int64_t i = tasks.first(task); i < last; ++i) {
            const std::int64_t end = rows.start[i + 1];
            std::int64_t e = rows.start[i], at = e - i;
            edges.start[i] = at;
            for (; e < end && rows.column[e] < i; ++e, ++at) {
                edges.source[at] = rows.column[e];
                edges.weight[at] = rows.value[e];
            }
            if (e == end || rows.column[e] != i) {
                found.store(false, std::memory_order_relaxed);
                return;
            }
            edges.diagonal[i] = rows.value[e++];
            for (; e < end; ++e, ++at) {
                edges.source[at] = rows.column[e];
                edges.weight[at] = rows.value[e];
            }
        }
    });
    complete = found.load();
    return edges;
}

template <class T>
DirectedEdges<T> split_exact(const CompressedRows<T> &rows, int threads) {
    bool complete = rows.start[rows.n] >= rows.n;
    if (complete) {
        DirectedEdges<T> edges = split_complete(rows, threads, complete);
        if (complete) return edges;
    }
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    DirectedEdges<T> edges = DirectedEdges<T>::counted(tasks, rows.n, threads, true, [&](std::int64_t i) {
        const std::int64_t entries = rows.start[i + 1] - rows.start[i];
        return entries - (rows.find(i, static_cast<std::int32_t>(i)) >= 0 ? 1 : 0);
    });
    for_rows(threads, tasks, [&](std::int64_t, std::int64_t i) {
        edges.diagonal[i] = T(0);
        std::int64_t at = edges.start[i];
        for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
            if (rows.column[e] == i) {
                edges.diagonal[i] = rows.value[e];
            } else {
                edges.source[at] = rows.column[e];
                edges.weight[at++] = rows.value[e];
            }
        }
    });
    return edges;
}

// The edges of the symmetrised pattern; with `average`, of (A + A') / 2.
template <class T>
DirectedEdges<T> split_general(const CompressedRows<T> &rows, bool average, int threads) {
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    const Transpose<T> transposed(rows);
    const CompressedRows<T> transpose = transposed.rows();
    const auto is_edge = [&](std::int64_t i, std::int32_t j, T forward, T backward) {
        return j != i && (average ? (forward + backward) / 2 != T(0) : forward != T(0) || backward != T(0));
    };
    DirectedEdges<T> edges = DirectedEdges<T>::counted(tasks, rows.n, threads, true, [&](std::int64_t i) {
        std::int64_t count = 0;
        merge_row(rows, transpose, i,
                  [&](std::int32_t j, T forward, T backward) { count += is_edge(i, j, forward, backward) ? 1 : 0; });
        return count;
    });
    for_rows(threads, tasks, [&](std::int64_t, std::int64_t i) {
        edges.diagonal[i] = T(0);
        std::int64_t at = edges.start[i];
        merge_row(rows, transpose, i, [&](std::int32_t j, T forward, T backward) {
            if (j == i) edges.diagonal[i] = forward;
            if (!is_edge(i, j, forward, backward)) return;
            edges.source[at] = j;
            edges.weight[at++] = average ? (forward + backward) / 2 : forward;
        });
    });
    return edges;
}

// Rows sorted by column, duplicates summed in storage order.
template <class T>
DirectedEdges<T> sort_rows(const CompressedRows<T> &rows, int threads) {
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    const auto entries = static_cast<std::size_t>(rows.start[rows.n]);
    std::vector<std::int64_t> order(entries);
    std::iota(order.begin(), order.end(), std::int64_t(0));
    DirectedEdges<T> sorted = DirectedEdges<T>::counted(tasks, rows.n, threads, false, [&](std::int64_t i) {
        const auto first = order.begin() + rows.start[i], last = order.begin() + rows.start[i + 1];
        std::stable_sort(first, last, [&](auto a, auto b) { return rows.column[a] < rows.column[b]; });
        std::int64_t count = 0;
        for (auto e = first; e != last; ++e) count += e == first || rows.column[*e] != rows.column[*(e - 1)] ? 1 : 0;
        return count;
    });
    for_rows(threads, tasks, [&](std::int64_t, std::int64_t i) {
        std::int64_t at = sorted.start[i] - 1;
        for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
            const std::int64_t entry = order[static_cast<std::size_t>(e)];
            const bool again = e > rows.start[i] &&
                               rows.column[entry] == rows.column[order[static_cast<std::size_t>(e) - 1]];
            if (again) {
                sorted.weight[at] += rows.value[entry];
            } else {
                sorted.source[++at] = rows.column[entry];
                sorted.weight[at] = rows.value[entry];
            }
        }
    });
    return sorted;
}

template <class T>
nb::tuple give_edges(DirectedEdges<T> &&edges) {
    return nb::make_tuple(give(std::move(edges.start)), give(std::move(edges.source)),
                          give(std::move(edges.weight)), give(std::move(edges.diagonal)));
}

template <class T>
void bind(nb::module_ &m) {
    // (start, source, weight, diagonal)
    m.def("split_rows", [](Offsets start, Nodes column, Vector<const T> value, bool exact, bool average, int threads) {
        const CompressedRows<T> rows = rows_of<T>(start, column, value);
        DirectedEdges<T> edges;
        {
            nb::gil_scoped_release release;
            edges = exact ? split_exact(rows, threads) : split_general(rows, average, threads);
        }
        return give_edges(std::move(edges));
    });
    m.def("sort_rows", [](Offsets start, Nodes column, Vector<const T> value, int threads) {
        const CompressedRows<T> rows = rows_of<T>(start, column, value);
        DirectedEdges<T> sorted;
        {
            nb::gil_scoped_release release;
            sorted = sort_rows(rows, threads);
        }
        return give_edges(std::move(sorted));
    });
}

}  // namespace

void bind_rows_to_edges(nb::module_ &m) {
    bind<float>(m);
    bind<double>(m);
    m.def("reverse_edges", [](Offsets start, Nodes source, nb::object reverse, int threads) {
        const auto out = take<Vector<std::int64_t>>(reverse);
        const auto n = static_cast<std::int64_t>(start.shape(0)) - 1;
        const CompressedRows<char> rows{start.data(), source.data(), nullptr, n};
        require(out.shape(0) == source.shape(0), "reverse must have one entry per edge");
        nb::gil_scoped_release release;
        for_rows(threads, RowTasks<std::int64_t>(rows.start, rows.n), [&](std::int64_t, std::int64_t i) {
            for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e)
                out.data()[e] = rows.find(rows.column[e], static_cast<std::int32_t>(i));
        });
    });
}

}  // namespace gabp
