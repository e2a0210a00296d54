// Elimination tree (Liu 1990) and column counts (Gilbert, Ng and Peyton 1994), both in almost linear time.
#include "factor/symbolic.hpp"

#include <numeric>

namespace gabp {
namespace {

constexpr std::int32_t none = -1;

std::vector<std::int32_t> inverse_of(const std::vector<std::int32_t> &order) {
    std::vector<std::int32_t> inverse(order.size());
    for (std::size_t k = 0; k < order.size(); ++k) inverse[order[k]] = static_cast<std::int32_t>(k);
    return inverse;
}

std::vector<std::int32_t> find_parents(const Pattern &pattern, const EliminationTree &tree) {
    std::vector<std::int32_t> parent(pattern.n, none), ancestor(pattern.n, none);
    for (std::int32_t k = 0; k < pattern.n; ++k) {
        const std::int32_t node = tree.order[k];
        for (std::int64_t e = pattern.start[node]; e < pattern.start[node + 1]; ++e) {
            std::int32_t i = tree.inverse[pattern.source[e]];
            while (i != none && i < k) {
                const std::int32_t above = ancestor[i];
                ancestor[i] = k;
                if (above == none) parent[i] = k;
                i = above;
            }
        }
    }
    return parent;
}

// post[k]: the column to place k-th so that every subtree is contiguous and ends with its root.
std::vector<std::int32_t> postorder(const std::vector<std::int32_t> &parent) {
    const auto n = static_cast<std::int32_t>(parent.size());
    std::vector<std::int32_t> child(n, none), sibling(n, none), stack, post;
    for (std::int32_t j = n - 1; j >= 0; --j) {
        if (parent[j] == none) continue;
        sibling[j] = child[parent[j]];
        child[parent[j]] = j;
    }
    post.reserve(n);
    for (std::int32_t root = 0; root < n; ++root) {
        if (parent[root] != none) continue;
        stack.push_back(root);
        while (!stack.empty()) {
            const std::int32_t j = stack.back();
            if (child[j] == none) {
                post.push_back(j);
                stack.pop_back();
            } else {
                stack.push_back(child[j]);
                child[j] = sibling[child[j]];
            }
        }
    }
    return post;
}

void relabel(EliminationTree &tree, const std::vector<std::int32_t> &post) {
    const std::vector<std::int32_t> place = inverse_of(post);
    std::vector<std::int32_t> order(post.size()), parent(post.size());
    for (std::size_t k = 0; k < post.size(); ++k) {
        order[k] = tree.order[post[k]];
        parent[k] = tree.parent[post[k]] == none ? none : place[tree.parent[post[k]]];
    }
    tree.order = std::move(order);
    tree.parent = std::move(parent);
    tree.inverse = inverse_of(tree.order);
}

std::int32_t find_root(std::vector<std::int32_t> &ancestor, std::int32_t i) {
    std::int32_t root = i;
    while (ancestor[root] != root) root = ancestor[root];
    while (ancestor[i] != root) {
        const std::int32_t above = ancestor[i];
        ancestor[i] = root;
        i = above;
    }
    return root;
}

std::vector<std::int32_t> count_columns(const Pattern &pattern, const EliminationTree &tree) {
    const auto n = static_cast<std::int32_t>(pattern.n);
    const auto &parent = tree.parent;
    std::vector<std::int32_t> count(n, 0), first(n, none), ancestor(n);
    std::vector<std::int32_t> latest_first(n, none), previous_leaf(n, none);
    std::iota(ancestor.begin(), ancestor.end(), 0);
    for (std::int32_t k = 0; k < n; ++k) {
        count[k] = first[k] == none ? 1 : 0;
        for (std::int32_t j = k; j != none && first[j] == none; j = parent[j]) first[j] = k;
    }
    for (std::int32_t j = 0; j < n; ++j) {
        if (parent[j] != none) --count[parent[j]];
        const std::int32_t node = tree.order[j];
        for (std::int64_t e = pattern.start[node]; e < pattern.start[node + 1]; ++e) {
            const std::int32_t i = tree.inverse[pattern.source[e]];
            if (i <= j || first[j] <= latest_first[i]) continue;
            latest_first[i] = first[j];  // j is a new leaf of the subtree of row i
            ++count[j];
            if (previous_leaf[i] != none) --count[find_root(ancestor, previous_leaf[i])];
            previous_leaf[i] = j;
        }
        if (parent[j] != none) ancestor[j] = parent[j];
    }
    for (std::int32_t j = 0; j < n; ++j) {
        if (parent[j] != none) count[parent[j]] += count[j];
    }
    return count;
}

}  // namespace

double EliminationTree::entries() const { return std::accumulate(count.begin(), count.end(), 0.0); }

double EliminationTree::flops() const {
    double total = 0;
    for (const double c : count) total += c * c;
    return total;
}

EliminationTree eliminate_symbolically(const Pattern &pattern, std::vector<std::int32_t> order) {
    EliminationTree tree;
    tree.order = std::move(order);
    tree.inverse = inverse_of(tree.order);
    tree.parent = find_parents(pattern, tree);
    relabel(tree, postorder(tree.parent));
    tree.count = count_columns(pattern, tree);
    return tree;
}

}  // namespace gabp
