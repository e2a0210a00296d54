// The sequential schedule: in row order, each node sends to all its neighbours from the newest messages.
#include "bindings/tensors.hpp"

#include <vector>

namespace gabp {
namespace {

// ratio[e] = A_ki / P_{i\k} for the slot e of k in row i: what i multiplies its cavity potential by to write to k.
template <class T>
void sweep_potentials(const std::int64_t *start, const std::int64_t *reverse, const T *ratio, const T *b,
                      T *potential, T *belief, std::int64_t n, std::int64_t columns) {
    for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t c = 0; c < columns; ++c) belief[c] = b[i * columns + c];
        for (std::int64_t e = start[i]; e < start[i + 1]; ++e)
            for (std::int64_t c = 0; c < columns; ++c) belief[c] += potential[e * columns + c];
        for (std::int64_t e = start[i]; e < start[i + 1]; ++e) {
            const T *heard = potential + e * columns;
            T *sent = potential + reverse[e] * columns;
            for (std::int64_t c = 0; c < columns; ++c) sent[c] = -ratio[e] * (belief[c] - heard[c]);
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
        nb::gil_scoped_release release;
        std::vector<T> belief(static_cast<std::size_t>(columns));
        for (std::int64_t s = 0; s < sweeps; ++s)
            sweep_potentials(start.data(), reverse.data(), ratio.data(), b.data(), potential.data(),
                             belief.data(), n, columns);
    });
}

}  // namespace

void bind_sequential(nb::module_ &m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
