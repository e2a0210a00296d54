// Multilevel bisection (Karypis and Kumar 1998): nodes of heavy edges are joined until few are left; a separator of
// those is carried back, and refined on every level.
#include "factor/separator.hpp"
#include "factor/separator_refinement.hpp"

#include <algorithm>

namespace gabp {
namespace {

constexpr std::int32_t none = -1;
constexpr std::int32_t coarsest_nodes = 40;
constexpr std::int32_t seeds = 5;     // on the coarsest level
constexpr std::int32_t large = 5000;  // nodes from which a coarse graph is bisected several times
constexpr std::uint32_t attempts = 5;
constexpr int levels_in_common = 4;  // of these attempts
constexpr double least_contraction = 0.9;

// Joins every node to the free neighbour of the strongest coupling.
class Matching {
public:
    Matching(const WeightedGraph &graph, std::int64_t heaviest, std::uint32_t attempt)
        : graph_(graph), heaviest_(heaviest), attempt_(attempt), pair_(graph.nodes(), none) {}

    // The number of pairs and single nodes.
    std::int32_t run() {
        std::vector<std::int32_t> single;
        for (std::int32_t i = 0; i < graph_.nodes(); ++i) {
            if (pair_[i] != none) continue;
            const std::int32_t j = strongest_free_neighbour(i);
            if (j == none) {
                single.push_back(i);
            } else {
                join(i, j);
            }
        }
        match_through_neighbours(single);
        for (const std::int32_t i : single) {
            if (pair_[i] == none) pair_[i] = pairs_++;
        }
        return pairs_;
    }
    std::vector<std::int32_t> take() { return std::move(pair_); }

private:
    std::int32_t strongest_free_neighbour(std::int32_t i) const {
        std::int32_t best = none, strongest = 0;
        std::uint32_t preferred = 0;
        for (std::int64_t e = graph_.start[i]; e < graph_.start[i + 1]; ++e) {
            const std::int32_t j = graph_.neighbour[e];
            if (pair_[j] != none || graph_.coupling[e] < strongest) continue;
            if (graph_.weight[i] + graph_.weight[j] > heaviest_) continue;
            const std::uint32_t candidate = preference(j);
            if (graph_.coupling[e] == strongest && candidate <= preferred) continue;
            best = j;
            strongest = graph_.coupling[e];
            preferred = candidate;
        }
        return best;
    }

    // The first neighbour in the first attempt, and any in the others (the finaliser of MurmurHash3, Appleby 2011).
    std::uint32_t preference(std::int32_t j) const {
        if (attempt_ == 0) return 0;
        std::uint32_t z = static_cast<std::uint32_t>(j) + 0x9e3779b9u * attempt_;
        z = (z ^ (z >> 16)) * 0x85ebca6bu;
        z = (z ^ (z >> 13)) * 0xc2b2ae35u;
        return z ^ (z >> 16);
    }

    void join(std::int32_t i, std::int32_t j) { pair_[i] = pair_[j] = pairs_++; }

    // Nodes whose neighbours are all taken, such as the leaves of a star, join each other.
    void match_through_neighbours(const std::vector<std::int32_t> &single) {
        std::vector<std::int32_t> waiting(graph_.nodes() + 1, none);
        for (const std::int32_t i : single) {
            const std::int32_t hub = graph_.degree(i) > 0 ? graph_.neighbour[graph_.start[i]] : graph_.nodes();
            const std::int32_t j = waiting[hub];
            if (j != none && graph_.weight[i] + graph_.weight[j] <= heaviest_) {
                join(i, j);
                waiting[hub] = none;
            } else {
                waiting[hub] = i;
            }
        }
    }

    const WeightedGraph &graph_;
    std::int64_t heaviest_;
    std::uint32_t attempt_;
    std::vector<std::int32_t> pair_;
    std::int32_t pairs_ = 0;
};

bool is_light(const WeightedGraph &graph, const std::vector<Side> &side) {
    std::int64_t separator = 0;
    for (std::int32_t i = 0; i < graph.nodes(); ++i) separator += side[i] == between ? graph.weight[i] : 0;
    return static_cast<double>(separator) <= heaviest_separator * static_cast<double>(graph.total_weight());
}

class Bisection {
public:
    explicit Bisection(std::int64_t weight)
        : heaviest_(std::max<std::int64_t>(3 * weight / (2 * coarsest_nodes), 2)) {}

    // Levels that are contracted in any case, then attempts to bisect what is left.
    std::vector<Side> run(const WeightedGraph &graph, int levels) const {
        if (levels == 0) return best_attempt(graph);
        return on_coarser_level(graph, 0, [&](const WeightedGraph &coarse) { return run(coarse, levels - 1); });
    }

    std::vector<Side> attempt(const WeightedGraph &graph, std::uint32_t number) const {
        if (graph.nodes() <= coarsest_nodes) return grow_best(graph);
        return on_coarser_level(graph, number, [&](const WeightedGraph &coarse) { return attempt(coarse, number); });
    }

private:
    std::vector<Side> best_attempt(const WeightedGraph &graph) const {
        std::vector<Side> best = attempt(graph, 0);
        if (!is_light(graph, best)) return {};
        for (std::uint32_t k = 1; k < attempts; ++k) {
            std::vector<Side> side = attempt(graph, k);
            if (SeparatorRefinement(graph, side).cost() < SeparatorRefinement(graph, best).cost()) {
                best = std::move(side);
            }
        }
        return best;
    }

    template <class Bisect>
    std::vector<Side> on_coarser_level(const WeightedGraph &graph, std::uint32_t attempt, const Bisect &bisect) const {
        Matching matching(graph, heaviest_, attempt);
        const std::int32_t pairs = matching.run();
        if (pairs > least_contraction * graph.nodes()) return grow_best(graph);
        const std::vector<std::int32_t> pair = matching.take();
        const std::vector<Side> coarse = bisect(contract(graph, pair, pairs));
        if (coarse.empty()) return {};
        std::vector<Side> side(graph.nodes());
        for (std::size_t i = 0; i < side.size(); ++i) side[i] = coarse[pair[i]];
        SeparatorRefinement refinement(graph, std::move(side));
        refinement.refine();
        return refinement.take();
    }

    std::vector<Side> grow_best(const WeightedGraph &graph) const {
        std::vector<Side> best;
        SeparatorCost least{};
        for (std::int64_t k = 0; k < seeds; ++k) {
            SeparatorRefinement refinement(graph, std::vector<Side>(graph.nodes(), right));
            refinement.grow(static_cast<std::int32_t>(k * graph.nodes() / seeds));
            refinement.refine();
            if (!best.empty() && !(refinement.cost() < least)) continue;
            least = refinement.cost();
            best = refinement.take();
        }
        return best;
    }

    std::int64_t heaviest_;  // node of a coarse level
};

}  // namespace

std::vector<Side> find_separator(const WeightedGraph &graph) {
    const Bisection bisection(graph.total_weight());
    if (graph.nodes() >= large) return bisection.run(graph, levels_in_common);
    std::vector<Side> side = bisection.attempt(graph, 0);
    return is_light(graph, side) ? side : std::vector<Side>();
}

}  // namespace gabp
