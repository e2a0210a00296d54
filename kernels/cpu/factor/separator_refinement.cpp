#include "factor/separator_refinement.hpp"

#include <algorithm>
#include <cstdlib>
#include <tuple>

namespace gabp {
namespace {

constexpr double largest_side = 0.6;  // of the total weight
constexpr std::size_t most_fruitless_moves = 300;
constexpr std::size_t fruitless_sweeps = 3;  // in moves of the whole separator
constexpr int most_passes = 12;

}  // namespace

bool SeparatorCost::operator<(const SeparatorCost &other) const {
    return std::tie(excess, separator, difference) < std::tie(other.excess, other.separator, other.difference);
}

SeparatorRefinement::SeparatorRefinement(const WeightedGraph &graph, std::vector<Side> side)
    : graph_(graph),
      side_(std::move(side)),
      pull_{std::vector<std::int32_t>(graph.nodes()), std::vector<std::int32_t>(graph.nodes())},
      queue_(graph.nodes()) {
    for (std::int32_t i = 0; i < graph.nodes(); ++i) {
        weight_[side_[i]] += graph.weight[i];
        if (side_[i] == between) measure_pull(i);
    }
    most_ = static_cast<std::int64_t>(largest_side * static_cast<double>(weight_[0] + weight_[1] + weight_[2]));
}

SeparatorCost SeparatorRefinement::cost() const {
    const std::int64_t larger = std::max(weight_[left], weight_[right]);
    return {std::max<std::int64_t>(larger - most_, 0), weight_[between], std::abs(weight_[left] - weight_[right])};
}

void SeparatorRefinement::transfer(std::int32_t i, Side side) {
    weight_[side_[i]] -= graph_.weight[i];
    weight_[side] += graph_.weight[i];
    side_[i] = side;
}

void SeparatorRefinement::measure_pull(std::int32_t i) {
    std::array<std::int32_t, 3> sum{};
    for (std::int64_t e = graph_.start[i]; e < graph_.start[i + 1]; ++e) {
        const std::int32_t j = graph_.neighbour[e];
        sum[side_[j]] += graph_.weight[j];
    }
    pull_[left][i] = sum[left];
    pull_[right][i] = sum[right];
}

// Node i joins the separator and may move on.
void SeparatorRefinement::draw(std::int32_t i) {
    transfer(i, between);
    measure_pull(i);
    queue_.insert(i, gain(i));
    drawn_.push_back(i);
    for (std::int64_t e = graph_.start[i]; e < graph_.start[i + 1]; ++e) {
        const std::int32_t j = graph_.neighbour[e];
        if (side_[j] != between) continue;
        pull_[from()][j] -= graph_.weight[i];
        if (queue_.contains(j)) queue_.change(j, gain(j));
    }
}

void SeparatorRefinement::move_best() {
    const std::int32_t i = queue_.top();
    queue_.remove(i);
    moves_.push_back({i, drawn_.size()});
    transfer(i, to_);
    for (std::int64_t e = graph_.start[i]; e < graph_.start[i + 1]; ++e) {
        const std::int32_t j = graph_.neighbour[e];
        if (side_[j] == between) {
            pull_[to_][j] += graph_.weight[i];
        } else if (side_[j] == from()) {
            draw(j);
        }
    }
}

void SeparatorRefinement::undo_to(std::size_t kept) {
    for (; moves_.size() > kept; moves_.pop_back()) {
        const auto [i, drawn_before] = moves_.back();
        for (; drawn_.size() > drawn_before; drawn_.pop_back()) {
            const std::int32_t j = drawn_.back();
            transfer(j, from());
            for (std::int64_t e = graph_.start[j]; e < graph_.start[j + 1]; ++e) {
                pull_[from()][graph_.neighbour[e]] += graph_.weight[j];
            }
        }
        transfer(i, between);
        for (std::int64_t e = graph_.start[i]; e < graph_.start[i + 1]; ++e) {
            pull_[to_][graph_.neighbour[e]] -= graph_.weight[i];
        }
        measure_pull(i);
    }
}

void SeparatorRefinement::forget_moves() {
    queue_.clear();
    moves_.clear();
    drawn_.clear();
}

void SeparatorRefinement::grow(std::int32_t seed) {
    to_ = left;
    const std::int64_t half = (weight_[left] + weight_[right] + weight_[between]) / 2;
    draw(seed);
    std::int32_t next = 0;
    while (weight_[left] + weight_[between] / 2 < half) {
        if (queue_.empty()) {  // a component is exhausted
            while (next < graph_.nodes() && side_[next] != right) ++next;
            if (next == graph_.nodes()) break;
            draw(next);
        }
        move_best();
    }
    forget_moves();
}

// Whether it helped.
bool SeparatorRefinement::pass() {
    std::size_t size = 0;
    for (std::int32_t i = 0; i < graph_.nodes(); ++i) {
        if (side_[i] != between) continue;
        queue_.insert(i, gain(i));
        ++size;
    }
    const std::size_t fruitless_moves = std::min(most_fruitless_moves, fruitless_sweeps * size);
    const SeparatorCost initial = cost();
    SeparatorCost best = initial;
    std::size_t kept = 0;
    while (!queue_.empty() && moves_.size() < kept + fruitless_moves) {
        if (weight_[to_] + graph_.weight[queue_.top()] > most_) break;
        move_best();
        if (cost() < best) {
            best = cost();
            kept = moves_.size();
        }
    }
    queue_.clear();
    undo_to(kept);
    forget_moves();
    return best < initial;
}

void SeparatorRefinement::refine() {
    to_ = weight_[left] < weight_[right] ? left : right;
    int fruitless = 0;
    for (int k = 0; k < most_passes && fruitless < 2; ++k) {
        fruitless = pass() ? 0 : fruitless + 1;
        to_ = from();
    }
}

}  // namespace gabp
