#include "factor/weighted_graph.hpp"

#include <numeric>

namespace gabp {
namespace {

constexpr std::int32_t none = -1;
constexpr double alike = 0.8;  // share of the larger of two neighbourhoods that is common to both

// Groups of unknowns with equal or similar closed neighbourhoods (Ashcraft 1995).
class Grouping {
public:
    explicit Grouping(const Pattern &pattern)
        : pattern_(pattern), hash_(pattern.n), group_(pattern.n, none), mark_(pattern.n, none) {
        for (std::int64_t i = 0; i < pattern.n; ++i) {
            hash_[i] = scramble(i);
            for (std::int64_t e = pattern.start[i]; e < pattern.start[i + 1]; ++e) {
                hash_[i] += scramble(pattern.source[e]);
            }
        }
    }

    // group[i] of every unknown, numbered by their first members; returns how many.
    std::int32_t run() {
        std::int32_t groups = 0;
        for (std::int32_t i = 0; i < pattern_.n; ++i) {
            if (group_[i] != none) continue;
            group_[i] = groups;
            collect(i);
            ++groups;
        }
        return groups;
    }
    const std::vector<std::int32_t> &group() const { return group_; }

private:
    static std::uint64_t scramble(std::int64_t i) {  // splitmix64 (Steele, Lea and Flood 2014)
        std::uint64_t z = (static_cast<std::uint64_t>(i) + 1) * 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

    void collect(std::int32_t leader) {
        std::int32_t successor = leader + 1;
        bool marked = false;
        for (std::int64_t e = pattern_.start[leader]; e < pattern_.start[leader + 1]; ++e) {
            const std::int32_t j = pattern_.source[e];
            if (j < leader || group_[j] != none) continue;
            const bool same_hash = hash_[j] == hash_[leader];
            if (!same_hash && j != successor) continue;
            if (!marked) mark_neighbours(leader);
            marked = true;
            if (same_hash ? overlap(j, leader) == pattern_.degree(j) + 1 : similar(j, leader)) {
                group_[j] = group_[leader];
                if (j == successor) ++successor;
            }
        }
    }

    void mark_neighbours(std::int32_t leader) {
        mark_[leader] = leader;
        for (std::int64_t e = pattern_.start[leader]; e < pattern_.start[leader + 1]; ++e) {
            mark_[pattern_.source[e]] = leader;
        }
    }

    std::int64_t overlap(std::int32_t j, std::int32_t leader) const {
        std::int64_t common = mark_[j] == leader ? 1 : 0;
        for (std::int64_t e = pattern_.start[j]; e < pattern_.start[j + 1]; ++e) {
            if (mark_[pattern_.source[e]] == leader) ++common;
        }
        return common;
    }

    bool similar(std::int32_t j, std::int32_t leader) const {
        const std::int64_t a = pattern_.degree(j) + 1, b = pattern_.degree(leader) + 1;
        const double needed = alike * static_cast<double>(a > b ? a : b);
        return static_cast<double>(a < b ? a : b) > needed && static_cast<double>(overlap(j, leader)) > needed;
    }

    const Pattern &pattern_;
    std::vector<std::uint64_t> hash_;  // of the closed neighbourhood
    std::vector<std::int32_t> group_, mark_;
};

}  // namespace

std::int64_t WeightedGraph::total_weight() const {
    return std::accumulate(weight.begin(), weight.end(), std::int64_t{0});
}

CompressedGraph compress(const Pattern &pattern) {
    Grouping grouping(pattern);
    const std::int32_t groups = grouping.run();
    const std::vector<std::int32_t> &group = grouping.group();
    CompressedGraph result;
    result.first.assign(groups + 1, 0);
    for (const std::int32_t g : group) ++result.first[g + 1];
    std::partial_sum(result.first.begin(), result.first.end(), result.first.begin());
    result.member.resize(pattern.n);
    std::vector<std::int32_t> next(result.first.begin(), result.first.end() - 1);
    for (std::int32_t i = 0; i < pattern.n; ++i) result.member[next[group[i]]++] = i;

    WeightedGraph &graph = result.graph;
    std::vector<std::int32_t> seen(groups, none);
    for (std::int32_t g = 0; g < groups; ++g) {
        seen[g] = g;
        for (std::int32_t k = result.first[g]; k < result.first[g + 1]; ++k) {
            const std::int32_t i = result.member[k];
            for (std::int64_t e = pattern.start[i]; e < pattern.start[i + 1]; ++e) {
                const std::int32_t h = group[pattern.source[e]];
                if (seen[h] == g) continue;
                seen[h] = g;
                graph.neighbour.push_back(h);
            }
        }
        graph.start.push_back(static_cast<std::int64_t>(graph.neighbour.size()));
        graph.weight.push_back(result.first[g + 1] - result.first[g]);
    }
    graph.coupling.assign(graph.neighbour.size(), 1);
    return result;
}

WeightedGraph subgraph(const WeightedGraph &graph, const std::vector<std::int32_t> &nodes) {
    const auto n = static_cast<std::int32_t>(nodes.size());
    std::vector<std::int32_t> local(graph.nodes(), none);
    for (std::int32_t k = 0; k < n; ++k) local[nodes[k]] = k;
    WeightedGraph part;
    part.start.reserve(n + 1);
    part.weight.reserve(n);
    for (const std::int32_t i : nodes) {
        for (std::int64_t e = graph.start[i]; e < graph.start[i + 1]; ++e) {
            const std::int32_t j = local[graph.neighbour[e]];
            if (j == none) continue;
            part.neighbour.push_back(j);
            part.coupling.push_back(graph.coupling[e]);
        }
        part.start.push_back(static_cast<std::int64_t>(part.neighbour.size()));
        part.weight.push_back(graph.weight[i]);
    }
    return part;
}

WeightedGraph contract(const WeightedGraph &graph, const std::vector<std::int32_t> &coarse, std::int32_t nodes) {
    std::vector<std::int32_t> first(nodes + 1, 0), member(coarse.size());
    for (const std::int32_t c : coarse) ++first[c + 1];
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<std::int32_t> next(first.begin(), first.end() - 1);
    for (std::int32_t i = 0; i < graph.nodes(); ++i) member[next[coarse[i]]++] = i;

    WeightedGraph result;
    result.weight.assign(nodes, 0);
    result.start.reserve(nodes + 1);
    result.neighbour.reserve(graph.neighbour.size() / 2);
    result.coupling.reserve(graph.neighbour.size() / 2);
    std::vector<std::int64_t> place(nodes, none);  // of the edge to each node, if past the row's begin
    for (std::int32_t c = 0; c < nodes; ++c) {
        const std::int64_t begin = result.start.back();
        for (std::int32_t k = first[c]; k < first[c + 1]; ++k) {
            const std::int32_t i = member[k];
            result.weight[c] += graph.weight[i];
            for (std::int64_t e = graph.start[i]; e < graph.start[i + 1]; ++e) {
                const std::int32_t d = coarse[graph.neighbour[e]];
                if (d == c) continue;
                if (place[d] < begin) {
                    place[d] = static_cast<std::int64_t>(result.neighbour.size());
                    result.neighbour.push_back(d);
                    result.coupling.push_back(graph.coupling[e]);
                } else {
                    result.coupling[place[d]] += graph.coupling[e];
                }
            }
        }
        result.start.push_back(static_cast<std::int64_t>(result.neighbour.size()));
    }
    return result;
}

}  // namespace gabp
