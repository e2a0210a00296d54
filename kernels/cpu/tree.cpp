// Exact belief propagation on a forest: leaves to roots, then roots to leaves, without a subtraction of
// messages. A node whose pivot is too small for its link to the parent is eliminated together with the
// parent (a 2x2 pivot, chosen as in Bunch 1974 for tridiagonal matrices), so indefinite forests are solved
// as stably as definite ones. For a positive definite forest no 2x2 pivot is ever chosen.
#include "tensors.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr double bunch_alpha = 0.6180339887498949;  // (sqrt(5) - 1) / 2

// Arrays over the nodes, renumbered so that parents come before their children; parent[root] = -1.
// up[i] = A[parent, i], down[i] = A[i, parent]. partner[i] is the child eliminated together with i, or -1.
// Returns the first node at which the matrix is found singular, else -1.
template <class T>
std::int64_t factor(const std::int32_t *parent, const T *up, const T *down, T scale, T *pivot,
                    std::int32_t *partner, std::int64_t n) {
    std::fill(partner, partner + n, std::int32_t(-1));
    // joined[i]: eliminated with the parent; kept as partner[parent[i]] == i.
    const auto send = [&](std::int64_t i) {  // a 1x1 pivot's message to the parent
        if (pivot[i] == T(0) || !std::isfinite(pivot[i])) return false;
        pivot[parent[i]] -= up[i] * down[i] / pivot[i];
        return true;
    };
    for (std::int64_t i = n - 1; i >= 0; --i) {
        const std::int32_t p = parent[i];
        if (partner[i] >= 0) {
            const std::int32_t c = partner[i];
            const T determinant = pivot[c] * pivot[i] - up[c] * down[c];
            if (determinant == T(0) || !std::isfinite(determinant)) return i;
            if (p >= 0) pivot[p] -= up[i] * down[i] * (pivot[c] / determinant);
            continue;
        }
        if (p < 0) {
            if (pivot[i] == T(0) || !std::isfinite(pivot[i])) return i;
            continue;
        }
        const T coupling = std::abs(up[i] * down[i]);
        if (pivot[i] > T(0) && scale * pivot[i] >= T(bunch_alpha) * coupling) {
            send(i);
        } else if (scale * std::abs(pivot[i]) >= T(bunch_alpha) * coupling && coupling > T(0)) {
            send(i);
        } else if (coupling == T(0)) {
            if (pivot[i] == T(0)) return i;
        } else if (partner[p] < 0) {
            partner[p] = static_cast<std::int32_t>(i);
        } else {  // two candidates: the smaller pivot joins the parent, the other goes alone
            std::int64_t alone = i;
            if (std::abs(pivot[i]) < std::abs(pivot[partner[p]])) {
                alone = partner[p];
                partner[p] = static_cast<std::int32_t>(i);
            }
            if (!send(alone)) return alone;
        }
    }
    return -1;
}

// Overwrites b (n, k), in the renumbered order, by the solution.
template <class T>
void solve(const std::int32_t *parent, const T *up, const T *down, const T *pivot, const std::int32_t *partner,
           T *b, std::int64_t n, std::int64_t columns) {
    const auto joined = [&](std::int64_t i) { return parent[i] >= 0 && partner[parent[i]] == i; };
    for (std::int64_t i = n - 1; i >= 0; --i) {
        const std::int32_t p = parent[i];
        if (p < 0 || joined(i)) continue;
        const std::int32_t c = partner[i];
        for (std::int64_t k = 0; k < columns; ++k) {
            T value;
            if (c < 0) {
                value = b[i * columns + k] / pivot[i];
            } else {
                const T determinant = pivot[c] * pivot[i] - up[c] * down[c];
                value = (pivot[c] * b[i * columns + k] - up[c] * b[c * columns + k]) / determinant;
            }
            b[p * columns + k] -= up[i] * value;
        }
    }
    for (std::int64_t i = 0; i < n; ++i) {
        if (joined(i)) continue;  // solved with its parent
        const std::int32_t p = parent[i];
        const std::int32_t c = partner[i];
        for (std::int64_t k = 0; k < columns; ++k) {
            T &x = b[i * columns + k];
            if (p >= 0) x -= down[i] * b[p * columns + k];
            if (c < 0) {
                x /= pivot[i];
            } else {
                T &y = b[c * columns + k];
                const T determinant = pivot[c] * pivot[i] - up[c] * down[c];
                const T at_node = (pivot[c] * x - up[c] * y) / determinant;
                y = (pivot[i] * y - down[c] * x) / determinant;
                x = at_node;
            }
        }
    }
}

template <class T>
void bind(nb::module_ &m) {
    m.def("tree_factor", [](Nodes parent, Vector<const T> up, Vector<const T> down, T scale, Vector<T> pivot,
                            Vector<std::int32_t> partner) {
        const auto n = static_cast<std::int64_t>(parent.shape(0));
        nb::gil_scoped_release release;
        return factor(parent.data(), up.data(), down.data(), scale, pivot.data(), partner.data(), n);
    });
    m.def("tree_solve", [](Nodes parent, Vector<const T> up, Vector<const T> down, Vector<const T> pivot,
                           Nodes partner, Columns<T> b) {
        nb::gil_scoped_release release;
        solve(parent.data(), up.data(), down.data(), pivot.data(), partner.data(), b.data(),
              static_cast<std::int64_t>(b.shape(0)), static_cast<std::int64_t>(b.shape(1)));
    });
}

}  // namespace

void bind_tree(nb::module_ &m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
