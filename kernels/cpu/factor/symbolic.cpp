// Fronts: supernodes of columns with the same or similar structure, their rows, and the schedule of the elimination.
#include "factor/symbolic.hpp"

#include <algorithm>

namespace gabp {
namespace {

constexpr std::int32_t none = -1;
constexpr double subtree_share = 1.0 / 48;  // of all work, at most, in one subtree

// The tree of fronts during amalgamation, as linked lists: O(1) per merge.
struct Amalgamation {
    std::vector<std::int32_t> parent, columns, rows, last_child, previous_sibling;
    std::vector<std::int32_t> head, tail, following;  // fundamental fronts merged into each
    std::vector<double> zeros;                        // explicit zeros in the factor

    // Child c leaves its parent's list before: its columns and children become those of p.
    void merge(std::int32_t c, std::int32_t p) {
        columns[p] += columns[c];
        following[tail[c]] = head[p];
        head[p] = head[c];
        columns[c] = 0;
        for (std::int32_t g = last_child[c]; g != none;) {
            const std::int32_t next = previous_sibling[g];
            append_child(g, p);
            g = next;
        }
    }
    void append_child(std::int32_t c, std::int32_t p) {
        parent[c] = p;
        previous_sibling[c] = last_child[p];
        last_child[p] = c;
    }
};

// Relaxed amalgamation (Ashcraft and Grimes 1989): narrow fronts gain more from dense kernels than zeros cost.
bool pays_off(double columns, double zeros, double entries) {
    if (columns <= 8) return true;
    if (columns <= 24) return zeros <= 0.5 * entries;
    if (columns <= 64) return zeros <= 0.2 * entries;
    return zeros <= 0.05 * entries;
}

std::vector<std::int32_t> fundamental_fronts(const EliminationTree &tree) {
    std::vector<std::int32_t> first{0};
    const auto n = static_cast<std::int32_t>(tree.order.size());
    for (std::int32_t j = 1; j < n; ++j) {
        if (tree.parent[j - 1] != j || tree.count[j - 1] != tree.count[j] + 1) first.push_back(j);
    }
    first.push_back(n);
    return first;
}

Amalgamation tree_of_fronts(const EliminationTree &tree, const std::vector<std::int32_t> &first) {
    const auto fronts = static_cast<std::int32_t>(first.size()) - 1;
    Amalgamation a;
    a.parent.assign(fronts, none);
    a.last_child.assign(fronts, none);
    a.previous_sibling.assign(fronts, none);
    a.following.assign(fronts, none);
    a.zeros.assign(fronts, 0.0);
    std::vector<std::int32_t> front_of(tree.order.size());
    for (std::int32_t s = 0; s < fronts; ++s) {
        std::fill(front_of.begin() + first[s], front_of.begin() + first[s + 1], s);
        a.columns.push_back(first[s + 1] - first[s]);
        a.rows.push_back(tree.count[first[s + 1] - 1] - 1);
        a.head.push_back(s);
        a.tail.push_back(s);
    }
    for (std::int32_t s = 0; s < fronts; ++s) {
        const std::int32_t above = tree.parent[first[s + 1] - 1];
        if (above != none) a.append_child(s, front_of[above]);
    }
    return a;
}

Amalgamation amalgamate_fronts(const EliminationTree &tree, const std::vector<std::int32_t> &first, double width) {
    Amalgamation a = tree_of_fronts(tree, first);
    const auto fronts = static_cast<std::int32_t>(first.size()) - 1;
    for (std::int32_t p = 0; p < fronts; ++p) {
        std::int32_t c = a.last_child[p];
        a.last_child[p] = none;
        while (c != none) {
            const std::int32_t next = a.previous_sibling[c];
            const double height = a.columns[p] + a.rows[p];
            const double columns = a.columns[p] + a.columns[c];
            const double zeros = a.zeros[p] + a.zeros[c] + a.columns[c] * (height - a.rows[c]);
            const double entries = columns * (columns + 1) / 2 + columns * a.rows[p];
            if (pays_off(width * columns, zeros, entries)) {
                a.merge(c, p);
                a.zeros[p] = zeros;
            } else {
                a.append_child(c, p);
            }
            c = next;
        }
    }
    return a;
}

// Numbers the fronts in postorder and their columns.
void place_columns(const EliminationTree &tree, const std::vector<std::int32_t> &first, Amalgamation &fronts,
                   Symbolic &symbolic) {
    std::vector<std::int32_t> stack, number(fronts.parent.size(), none);
    std::vector<std::int32_t> sequence;
    for (std::size_t root = 0; root < fronts.parent.size(); ++root) {
        if (fronts.parent[root] != none || fronts.columns[root] == 0) continue;
        stack.push_back(static_cast<std::int32_t>(root));
        while (!stack.empty()) {
            const std::int32_t s = stack.back();
            const std::int32_t c = fronts.last_child[s];
            if (c != none) {
                fronts.last_child[s] = fronts.previous_sibling[c];
                stack.push_back(c);
            } else {
                number[s] = static_cast<std::int32_t>(sequence.size());
                sequence.push_back(s);
                stack.pop_back();
            }
        }
    }
    symbolic.first.push_back(0);
    for (const std::int32_t s : sequence) {
        for (std::int32_t part = fronts.head[s];; part = fronts.following[part]) {
            for (std::int32_t j = first[part]; j < first[part + 1]; ++j) symbolic.order.push_back(tree.order[j]);
            if (part == fronts.tail[s]) break;
        }
        symbolic.first.push_back(static_cast<std::int32_t>(symbolic.order.size()));
        symbolic.parent.push_back(fronts.parent[s] == none ? none : number[fronts.parent[s]]);
    }
    symbolic.inverse.resize(symbolic.order.size());
    for (std::size_t k = 0; k < symbolic.order.size(); ++k) {
        symbolic.inverse[symbolic.order[k]] = static_cast<std::int32_t>(k);
    }
}

void link_children(Symbolic &symbolic) {
    const std::int32_t fronts = symbolic.fronts();
    symbolic.child_start.assign(fronts + 1, 0);
    for (const std::int32_t p : symbolic.parent) {
        if (p != none) ++symbolic.child_start[p + 1];
    }
    for (std::int32_t s = 0; s < fronts; ++s) symbolic.child_start[s + 1] += symbolic.child_start[s];
    std::vector<std::int32_t> next(symbolic.child_start.begin(), symbolic.child_start.end() - 1);
    symbolic.child.resize(symbolic.child_start[fronts]);
    for (std::int32_t s = 0; s < fronts; ++s) {
        if (symbolic.parent[s] != none) symbolic.child[next[symbolic.parent[s]]++] = s;
    }
}

// The rows of a front: those of its children and of its columns of A, past its own columns.
void find_rows(const Pattern &pattern, Symbolic &symbolic) {
    std::vector<std::int32_t> seen(symbolic.order.size(), none);
    symbolic.row_start.push_back(0);
    symbolic.panel_start.push_back(0);
    for (std::int32_t s = 0; s < symbolic.fronts(); ++s) {
        const std::int32_t end = symbolic.first[s + 1];
        const auto add = [&](std::int32_t i) {
            if (i < end || seen[i] == s) return;
            seen[i] = s;
            symbolic.row.push_back(i);
        };
        for (std::int32_t k = symbolic.child_start[s]; k < symbolic.child_start[s + 1]; ++k) {
            const std::int32_t c = symbolic.child[k];
            for (std::int64_t r = symbolic.row_start[c]; r < symbolic.row_start[c + 1]; ++r) add(symbolic.row[r]);
        }
        for (std::int32_t j = symbolic.first[s]; j < end; ++j) {
            const std::int32_t node = symbolic.order[j];
            for (std::int64_t e = pattern.start[node]; e < pattern.start[node + 1]; ++e) {
                add(symbolic.inverse[pattern.source[e]]);
            }
        }
        std::sort(symbolic.row.begin() + symbolic.row_start[s], symbolic.row.end());
        symbolic.row_start.push_back(static_cast<std::int64_t>(symbolic.row.size()));
        symbolic.panel_start.push_back(symbolic.panel_start[s] + symbolic.height(s) * symbolic.columns(s));
    }
}

void plan_subtrees(Symbolic &symbolic) {
    const std::int32_t fronts = symbolic.fronts();
    std::vector<double> work(fronts, 0.0);
    std::vector<std::int32_t> first_descendant(fronts);
    double total = 0;
    for (std::int32_t s = 0; s < fronts; ++s) {
        const auto c = static_cast<double>(symbolic.columns(s));
        const auto h = static_cast<double>(symbolic.height(s));
        work[s] += 100 + h * h * c;
        total += 100 + h * h * c;
        if (symbolic.child_start[s] == symbolic.child_start[s + 1]) {
            first_descendant[s] = s;
        } else {
            first_descendant[s] = first_descendant[symbolic.child[symbolic.child_start[s]]];
        }
        if (symbolic.parent[s] != none) work[symbolic.parent[s]] += work[s];
    }
    const double limit = subtree_share * total;
    for (std::int32_t s = 0; s < fronts; ++s) {
        if (work[s] > limit) {
            symbolic.top.push_back(s);
        } else if (symbolic.parent[s] == none || work[symbolic.parent[s]] > limit) {
            symbolic.subtree_root.push_back(s);
        }
    }
    std::stable_sort(symbolic.subtree_root.begin(), symbolic.subtree_root.end(),
                     [&](std::int32_t a, std::int32_t b) { return work[a] > work[b]; });
    for (const std::int32_t root : symbolic.subtree_root) {
        symbolic.subtree_first.push_back(first_descendant[root]);
    }
}

// The factor, and what is alive beside it: update matrices on the way up, inverse fronts on the way down.
void predict_memory(Symbolic &symbolic) {
    constexpr double bytes = sizeof(double);
    double alive = 0, peak = 0, roots = 0, widest = 0;
    for (std::int32_t s = 0; s < symbolic.fronts(); ++s) {
        const auto h = static_cast<double>(symbolic.height(s));
        const auto r = static_cast<double>(symbolic.rows(s));
        alive += r * r;
        peak = std::max(peak, alive + h * h);
        for (std::int32_t k = symbolic.child_start[s]; k < symbolic.child_start[s + 1]; ++k) {
            const auto below = static_cast<double>(symbolic.rows(symbolic.child[k]));
            alive -= below * below;
        }
        widest = std::max(widest, h * h);
    }
    for (const std::int32_t root : symbolic.subtree_root) {
        const auto r = static_cast<double>(symbolic.rows(root));
        roots += r * r;
    }
    double inverse = 0;
    for (const std::int32_t s : symbolic.top) {
        const auto h = static_cast<double>(symbolic.height(s));
        inverse += h * h;
    }
    const auto panels = static_cast<double>(symbolic.panel_start.back());
    symbolic.peak_bytes = bytes * (panels + std::max(peak + roots, inverse + 4 * widest));
}

}  // namespace

Symbolic analyse_fronts(const Pattern &pattern, EliminationTree tree, double width) {
    Symbolic symbolic;
    symbolic.entries = tree.entries();
    symbolic.flops = tree.flops();
    const std::vector<std::int32_t> first = fundamental_fronts(tree);
    Amalgamation fronts = amalgamate_fronts(tree, first, width);
    place_columns(tree, first, fronts, symbolic);
    link_children(symbolic);
    find_rows(pattern, symbolic);
    plan_subtrees(symbolic);
    predict_memory(symbolic);
    return symbolic;
}

}  // namespace gabp
