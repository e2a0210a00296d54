// Exact belief propagation on a forest: leaves to roots, then roots to leaves, without subtracting messages. A node
// whose pivot is too small beside its coupling to the parent is eliminated together with the parent (a 2x2 pivot, as in
// Bunch 1974 for tridiagonal matrices), which is stable on indefinite forests; definite ones need none.
#include "bindings/tensors.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr double bunch_alpha = 0.6180339887498949;  // (sqrt(5) - 1) / 2

// Nodes renumbered so that parents precede their children.
struct Forest {
    std::int64_t n;
    const std::int32_t *parent;  // -1 for roots
    const double *up, *down;     // A[parent, i], A[i, parent]
};

// partner[i] is the child eliminated together with i, or -1. Returns the first node at which the matrix is found
// singular, or -1.
std::int64_t factor(const Forest &forest, double scale, double *pivot, std::int32_t *partner) {
    const auto [n, parent, up, down] = forest;
    std::fill(partner, partner + n, std::int32_t(-1));
    for (std::int64_t i = n - 1; i >= 0; --i) {
        const std::int32_t p = parent[i];
        const std::int32_t c = partner[i];
        if (c >= 0) {
            const double determinant = pivot[c] * pivot[i] - up[c] * down[c];
            if (determinant == 0.0) return i;
            if (p >= 0) pivot[p] -= up[i] * down[i] * (pivot[c] / determinant);
            continue;
        }
        const double coupling = p >= 0 ? up[i] * down[i] : 0.0;
        std::int64_t alone = i;
        if (coupling != 0.0 && scale * std::abs(pivot[i]) < bunch_alpha * std::abs(coupling)) {
            if (partner[p] < 0) {
                partner[p] = static_cast<std::int32_t>(i);
                continue;
            }
            // of two candidates, the one with the smaller pivot is paired with the parent
            if (std::abs(pivot[i]) < std::abs(pivot[partner[p]])) {
                alone = partner[p];
                partner[p] = static_cast<std::int32_t>(i);
            }
        }
        if (pivot[alone] == 0.0) return alone;
        if (p >= 0) pivot[p] -= up[alone] * down[alone] / pivot[alone];
    }
    return -1;
}

// Overwrites b (n, k), in the renumbered order, by the solution.
void solve(const Forest &forest, const double *pivot, const std::int32_t *partner, double *b, std::int64_t columns) {
    const std::int32_t *parent = forest.parent;
    const double *up = forest.up, *down = forest.down;
    const std::int64_t n = forest.n;
    const auto paired = [&](std::int64_t i) { return parent[i] >= 0 && partner[parent[i]] == i; };
    for (std::int64_t i = n - 1; i >= 0; --i) {
        const std::int32_t p = parent[i];
        if (p < 0 || paired(i)) continue;
        const std::int32_t c = partner[i];
        for (std::int64_t k = 0; k < columns; ++k) {
            double value;
            if (c < 0) {
                value = b[i * columns + k] / pivot[i];
            } else {
                const double determinant = pivot[c] * pivot[i] - up[c] * down[c];
                value = (pivot[c] * b[i * columns + k] - up[c] * b[c * columns + k]) / determinant;
            }
            b[p * columns + k] -= up[i] * value;
        }
    }
    for (std::int64_t i = 0; i < n; ++i) {
        if (paired(i)) continue;  // solved with its parent
        const std::int32_t p = parent[i];
        const std::int32_t c = partner[i];
        for (std::int64_t k = 0; k < columns; ++k) {
            double &x = b[i * columns + k];
            if (p >= 0) x -= down[i] * b[p * columns + k];
            if (c < 0) {
                x /= pivot[i];
            } else {
                double &y = b[c * columns + k];
                const double determinant = pivot[c] * pivot[i] - up[c] * down[c];
                const double at_node = (pivot[c] * x - up[c] * y) / determinant;
                y = (pivot[i] * y - down[c] * x) / determinant;
                x = at_node;
            }
        }
    }
}

}  // namespace

void bind_tree(nb::module_ &m) {
    m.def("tree_factor", [](Nodes parent, Vector<const double> up, Vector<const double> down, double scale,
                            Vector<double> pivot, Vector<std::int32_t> partner) {
        const auto n = static_cast<std::int64_t>(parent.shape(0));
        nb::gil_scoped_release release;
        return factor({n, parent.data(), up.data(), down.data()}, scale, pivot.data(), partner.data());
    });
    m.def("tree_solve", [](Nodes parent, Vector<const double> up, Vector<const double> down,
                           Vector<const double> pivot, Nodes partner, Columns<double> b) {
        nb::gil_scoped_release release;
        solve({static_cast<std::int64_t>(b.shape(0)), parent.data(), up.data(), down.data()}, pivot.data(),
              partner.data(), b.data(), static_cast<std::int64_t>(b.shape(1)));
    });
}

}  // namespace gabp
