// The sequential schedule: in row order, each node sends messages to all its neighbours, from the newest ones.
#include "bindings/tensors.hpp"

#include <vector>

namespace gabp {
namespace {

// ratio[e] = A_ki / P_{i\k} for the edge e from k to i: i's message to k is -ratio times its cavity potential.
// Messages and belief, the scratch of one row, have `columns` numbers each.
template <class T>
void sweep_potentials(const Pattern &edges, const T *ratio, const T *b, T *potential, T *belief, std::int64_t columns) {
    const std::int64_t *start = edges.start, *reverse = edges.reverse;
    for (std::int64_t i = 0; i < edges.n; ++i) {
        for (std::int64_t c = 0; c < columns; ++c) belief[c] = b[i * columns + c];
        for (std::int64_t e = start[i]; e < start[i + 1]; ++e)
            for (std::int64_t c = 0; c < columns; ++c) belief[c] += potential[e * columns + c];
        for (std::int64_t e = start[i]; e < start[i + 1]; ++e) {
            const T *incoming = potential + e * columns;
            T *outgoing = potential + reverse[e] * columns;
            for (std::int64_t c = 0; c < columns; ++c) outgoing[c] = -ratio[e] * (belief[c] - incoming[c]);
        }
    }
}

template <class T>
void bind(nb::module_ &m) {
    m.def("sequential_potentials", [](Offsets start, Offsets reverse, Vector<const T> ratio,
                                      Columns<const T> b, Columns<T> potential, std::int64_t sweeps) {
        const std::int64_t n = static_cast<std::int64_t>(b.shape(0));
        const std::int64_t columns = static_cast<std::int64_t>(b.shape(1));
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
        const Pattern edges{start.data(), nullptr, n, reverse.data()};
        nb::gil_scoped_release release;
        std::vector<T> belief(static_cast<std::size_t>(columns));
        for (std::int64_t s = 0; s < sweeps; ++s)
            sweep_potentials(edges, ratio.data(), b.data(), potential.data(), belief.data(), columns);
    });
}

}  // namespace

void bind_sequential(nb::module_ &m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
