#include "factor/nested_dissection.hpp"
#include "factor/ordering.hpp"
#include "factor/separator.hpp"
#include "common/pool.hpp"

#include <array>
#include <atomic>
#include <new>

namespace gabp {
namespace {

constexpr std::int32_t none = -1;
constexpr std::int32_t few_nodes = 100;
constexpr std::int64_t small_weight = 500;

struct Part {
    WeightedGraph graph;
    std::vector<std::int32_t> node;  // in the whole graph
};

struct DividedPart {
    std::array<Part, 2> side;
    std::vector<std::int32_t> separator;
    double separator_weight = 0;  // at least
};

bool is_leaf(const WeightedGraph &graph) {
    return graph.nodes() <= few_nodes || graph.total_weight() <= small_weight;
}

Part part_of(const Part &whole, const std::vector<std::int32_t> &nodes) {
    Part part;
    part.graph = subgraph(whole.graph, nodes);
    part.node.reserve(nodes.size());
    for (const std::int32_t i : nodes) part.node.push_back(whole.node[i]);
    return part;
}

// Without sides where the part is a leaf or has no light separator.
DividedPart divide(const Part &part) {
    DividedPart divided;
    if (is_leaf(part.graph)) return divided;
    const std::vector<Side> side = find_separator(part.graph);
    if (side.empty()) {
        divided.separator_weight = heaviest_separator * static_cast<double>(part.graph.total_weight());
        return divided;
    }
    std::array<std::vector<std::int32_t>, 3> nodes;
    for (std::int32_t i = 0; i < part.graph.nodes(); ++i) nodes[side[i]].push_back(i);
    if (nodes[left].empty() || nodes[right].empty()) return divided;
    for (const std::int32_t i : nodes[between]) {
        divided.separator.push_back(part.node[i]);
        divided.separator_weight += part.graph.weight[i];
    }
    for (const Side s : {left, right}) divided.side[s] = part_of(part, nodes[s]);
    return divided;
}

// Divides a graph generation by generation.
class Dissection {
public:
    explicit Dissection(const WeightedGraph &graph) : graph_(graph), generation_(graph.nodes(), none) {}

    // False where the separators, which become dense, take more operations.
    bool run(double most_flops, int threads) {
        double flops = 0;
        std::vector<Part> parts;
        parts.push_back(whole_without_dense_nodes());
        for (generations_ = 1; !parts.empty(); ++generations_) {
            std::vector<DividedPart> divided = divide_all(parts, threads);
            parts.clear();
            for (DividedPart &d : divided) {
                flops += d.separator_weight * d.separator_weight * d.separator_weight / 3;
                for (const std::int32_t i : d.separator) generation_[i] = generations_;
                for (Part &side : d.side) {
                    if (!is_leaf(side.graph)) parts.push_back(std::move(side));
                }
            }
            if (flops > most_flops) return false;
        }
        return true;
    }

    // When each node is to be eliminated: the remaining parts first, then the separators of the last generation, ...
    std::vector<std::int32_t> stages() const {
        std::vector<std::int32_t> stage(generation_.size());
        for (std::size_t i = 0; i < stage.size(); ++i) {
            stage[i] = generation_[i] == none ? 0 : generations_ - generation_[i];
        }
        return stage;
    }

private:
    // Dense nodes would be in every separator: they form generation 0.
    Part whole_without_dense_nodes() {
        Part whole;
        const double limit = dense_degree(graph_.nodes());
        for (std::int32_t i = 0; i < graph_.nodes(); ++i) {
            if (static_cast<double>(graph_.degree(i)) > limit) {
                generation_[i] = 0;
            } else {
                whole.node.push_back(i);
            }
        }
        whole.graph = subgraph(graph_, whole.node);
        return whole;
    }

    static std::vector<DividedPart> divide_all(std::vector<Part> &parts, int threads) {
        std::vector<DividedPart> divided(parts.size());
        std::atomic<bool> out_of_memory{false};
        for_chunks(threads, static_cast<std::int64_t>(parts.size()), [&](std::int64_t k) {
            try {
                divided[k] = divide(parts[k]);
                parts[k] = {};
            } catch (const std::bad_alloc &) {
                out_of_memory = true;
            }
        });
        if (out_of_memory) throw std::bad_alloc();
        return divided;
    }

    const WeightedGraph &graph_;
    std::vector<std::int32_t> generation_;  // whose separators hold a node
    std::int32_t generations_ = 0;
};

}  // namespace

std::vector<std::int32_t> nested_dissection_order(const CompressedGraph &compressed, double most_separator_flops,
                                                  int threads) {
    const WeightedGraph &graph = compressed.graph;
    Dissection dissection(graph);
    if (!dissection.run(most_separator_flops, threads)) return {};
    std::vector<std::int32_t> order;
    order.reserve(compressed.member.size());
    for (const std::int32_t i : constrained_minimum_degree_order(graph.pattern(), graph.weight, dissection.stages())) {
        order.insert(order.end(), compressed.member.begin() + compressed.first[i],
                     compressed.member.begin() + compressed.first[i + 1]);
    }
    return order;
}

}  // namespace gabp
