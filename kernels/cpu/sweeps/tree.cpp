// Exact belief propagation on a forest: leaves to roots, then roots to leaves, without subtracting messages. A node
// whose pivot is too small beside its coupling to the parent is eliminated together with the parent (a 2x2 pivot, as in
// Bunch 1974 for tridiagonal matrices), which is stable on indefinite forests; definite ones need none.
#include "bindings/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace gabp {
namespace {

constexpr double bunch_alpha = 0.6180339887498949;  // (sqrt(5) - 1) / 2

// The nodes of a forest in breadth-first order, tree by tree, each rooted at its first node.
struct Rooted {
    std::int64_t *node;
    std::int32_t *parent;                    // the position of each position's parent; -1 for roots
    std::int64_t *parent_edge, *child_edge;  // from the parent to the node and back; -1 for roots
};

void root_trees(const Pattern &graph, const Rooted &rooted) {
    std::vector<bool> reached(static_cast<std::size_t>(graph.n), false);
    std::int64_t placed = 0;
    const auto place = [&](std::int64_t node, std::int64_t parent, std::int64_t down, std::int64_t up) {
        reached[static_cast<std::size_t>(node)] = true;
        rooted.node[placed] = node;
        rooted.parent[placed] = static_cast<std::int32_t>(parent);
        rooted.parent_edge[placed] = down;
        rooted.child_edge[placed++] = up;
    };
    std::int64_t position = 0;
    for (std::int64_t root = 0; root < graph.n; ++root) {
        if (reached[static_cast<std::size_t>(root)]) continue;
        place(root, -1, -1, -1);
        for (; position < placed; ++position) {
            const std::int64_t i = rooted.node[position];
            for (std::int64_t e = graph.start[i]; e < graph.start[i + 1]; ++e) {
                const std::int32_t child = graph.source[e];
                if (reached[static_cast<std::size_t>(child)]) continue;
                const std::int32_t *first = graph.source + graph.start[child];
                const std::int32_t *last = graph.source + graph.start[child + 1];
                place(child, position, std::lower_bound(first, last, static_cast<std::int32_t>(i)) - graph.source, e);
            }
        }
    }
}

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
    m.def("root_trees", [](Offsets start, Nodes source, Vector<std::int64_t> node, Vector<std::int32_t> parent,
                           Vector<std::int64_t> parent_edge, Vector<std::int64_t> child_edge) {
        const Pattern graph = pattern_of(start, source);
        for (const std::size_t size : {node.shape(0), parent.shape(0), parent_edge.shape(0), child_edge.shape(0)})
            require(static_cast<std::int64_t>(size) == graph.n, "the results must have one entry per node");
        nb::gil_scoped_release release;
        root_trees(graph, {node.data(), parent.data(), parent_edge.data(), child_edge.data()});
    });
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
