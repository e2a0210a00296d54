// The elimination sweep of a general matrix on a symmetric pattern: sequential messages forward, back substitution.
#include "bindings/tensors.hpp"

#include <algorithm>

namespace gabp {
namespace {

constexpr double smallest_pivot = 0.05;  // of the diagonal; a smaller one would blow up what it divides

template <class T>
std::int64_t pivots(const Pattern &edges, const T *weight, const T *diagonal, T *pivot) {
    const auto [start, source, n, reverse] = edges;
    for (std::int64_t i = 0; i < n; ++i) {
        if (diagonal[i] == T(0)) return i;
        T value = diagonal[i];
        for (std::int64_t e = start[i]; e < start[i + 1] && source[e] < i; ++e)  // ascending within a row
            value -= weight[e] * weight[reverse[e]] / pivot[source[e]];
        pivot[i] = value / diagonal[i] >= T(smallest_pivot) ? value : diagonal[i];
    }
    return -1;
}

// For one column or a few: the gathers of a row's neighbours dominate, so the inner loops over columns are short.
template <class T>
void sweep(const Pattern &edges, const T *weight, const T *pivot, const T *r, T *y, std::int64_t columns) {
    const std::int64_t *start = edges.start;
    const std::int32_t *source = edges.source;
    const std::int64_t n = edges.n;
    for (std::int64_t i = 0; i < n; ++i) {
        T *own = y + i * columns;
        std::copy(r + i * columns, r + (i + 1) * columns, own);
        for (std::int64_t e = start[i]; e < start[i + 1] && source[e] < i; ++e)
            for (std::int64_t c = 0; c < columns; ++c) own[c] -= weight[e] * y[source[e] * columns + c];
        for (std::int64_t c = 0; c < columns; ++c) own[c] /= pivot[i];
    }
    for (std::int64_t i = n; i-- > 0;) {
        T *own = y + i * columns;
        for (std::int64_t e = start[i + 1]; e-- > start[i] && source[e] > i;) {
            const T ratio = weight[e] / pivot[i];
            for (std::int64_t c = 0; c < columns; ++c) own[c] -= ratio * y[source[e] * columns + c];
        }
    }
}

template <class T>
void bind(nb::module_ &m) {
    m.def("directed_pivots", [](Vector<const T> diagonal, Vector<const T> weight, Offsets start, Nodes source,
                                Offsets reverse, Vector<T> pivot) {
        const std::int64_t n = static_cast<std::int64_t>(diagonal.shape(0));
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
        require(pivot.shape(0) == diagonal.shape(0), "pivot and diagonal must be equally long");
        require(weight.shape(0) == source.shape(0) && weight.shape(0) == reverse.shape(0), "one number per edge");
        nb::gil_scoped_release release;
        return pivots({start.data(), source.data(), n, reverse.data()}, weight.data(), diagonal.data(), pivot.data());
    });
    m.def("directed_elimination_sweep", [](Vector<const T> weight, Offsets start, Nodes source, Vector<const T> pivot,
                                           Columns<const T> r, Columns<T> y) {
        const std::int64_t n = static_cast<std::int64_t>(pivot.shape(0));
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
        require(weight.shape(0) == source.shape(0), "one number per edge");
        require(static_cast<std::int64_t>(r.shape(0)) == n && r.shape(0) == y.shape(0) && r.shape(1) == y.shape(1),
                "r and y must be (n, k)");
        nb::gil_scoped_release release;
        sweep({start.data(), source.data(), n}, weight.data(), pivot.data(), r.data(), y.data(),
              static_cast<std::int64_t>(r.shape(1)));
    });
}

}  // namespace

void bind_directed(nb::module_ &m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
