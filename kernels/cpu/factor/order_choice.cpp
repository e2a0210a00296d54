#include "factor/order_choice.hpp"
#include "factor/nested_dissection.hpp"
#include "factor/ordering.hpp"

#include <algorithm>

namespace gabp {
namespace {

// Operations of a factorisation per node and edge from which a dissection, which takes the time of some 3e4, is tried.
// On meshes in space it saves half of them and more.
constexpr double worth_dissecting = 8e4;
// The separators' share of all operations: about 1/10 where dissection pays, a half on graphs without good separators.
constexpr double most_on_separators = 1.0 / 8;

std::optional<EliminationTree> eliminate_within(const Pattern &pattern, std::vector<std::int32_t> order,
                                                double most_flops) {
    if (order.empty() && pattern.n > 0) return std::nullopt;
    EliminationTree tree = eliminate_symbolically(pattern, std::move(order));
    if (tree.flops() > most_flops) return std::nullopt;
    return tree;
}

bool may_pay(const WeightedGraph &graph, double flops) {
    const double edges = static_cast<double>(graph.neighbour.size()) / 2;
    return flops > worth_dissecting * (graph.nodes() + edges);
}

}  // namespace

std::optional<EliminationTree> cheapest_elimination(const Pattern &pattern, double most_flops, int threads) {
    std::optional<EliminationTree> tree =
        eliminate_within(pattern, minimum_degree_order(pattern, most_flops), most_flops);
    const double flops = tree ? tree->flops() : most_flops;
    // joining nodes takes little, but on most patterns does not change the answer
    if (flops <= worth_dissecting * static_cast<double>(pattern.n)) return tree;
    const CompressedGraph compressed = compress(pattern);
    if (!may_pay(compressed.graph, flops)) return tree;
    std::optional<EliminationTree> dissected = eliminate_within(
        pattern, nested_dissection_order(compressed, most_on_separators * flops, threads), flops);
    return dissected ? std::move(dissected) : std::move(tree);
}

}  // namespace gabp
