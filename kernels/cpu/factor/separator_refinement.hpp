// Local search for lighter vertex separators.
#pragma once

#include "factor/gain_queue.hpp"
#include "factor/separator.hpp"

#include <array>
#include <utility>

namespace gabp {

// Lexicographic; less is better.
struct SeparatorCost {
    std::int64_t excess;      // weight of a side over the most that one may have
    std::int64_t separator;   // weight
    std::int64_t difference;  // between the sides
    bool operator<(const SeparatorCost &other) const;
};

// A separator whose nodes move to one of the sides, which draws their neighbours on the other one into it (Ashcraft and
// Liu 1996; Hendrickson and Rothberg 1998). What a move takes off the separator's weight is its gain.
class SeparatorRefinement {
public:
    SeparatorRefinement(const WeightedGraph &graph, std::vector<Side> side);

    // The left side, empty before, grows around `seed` to half of the weight, by the best moves.
    void grow(std::int32_t seed);

    // Passes of Fiduccia and Mattheyses (1982) towards either side in turn, as long as they help.
    void refine();

    SeparatorCost cost() const;
    std::vector<Side> take() { return std::move(side_); }

private:
    struct Move {
        std::int32_t node;
        std::size_t drawn_before;  // drawn_.size() before the move
    };

    Side from() const { return to_ == left ? right : left; }
    std::int64_t gain(std::int32_t i) const { return graph_.weight[i] - pull_[from()][i]; }
    void transfer(std::int32_t i, Side side);
    void measure_pull(std::int32_t i);
    void draw(std::int32_t i);
    void move_best();
    void undo_to(std::size_t kept);
    void forget_moves();
    bool pass();

    const WeightedGraph &graph_;
    std::vector<Side> side_;
    std::array<std::vector<std::int32_t>, 2> pull_;  // of a node between: the weight of its neighbours on each side
    std::array<std::int64_t, 3> weight_{};           // of left, right and between
    std::int64_t most_;                              // that one side may weigh
    Side to_ = left;                                 // where nodes move
    GainQueue queue_;
    std::vector<Move> moves_;
    std::vector<std::int32_t> drawn_;
};

}  // namespace gabp
