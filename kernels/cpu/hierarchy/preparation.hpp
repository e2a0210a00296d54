// Reordering and scaling of the user's matrix for the hierarchy: neighbours close to each other in the row order, and
// values within the range of float32.
#pragma once

#include "common/pattern.hpp"
#include "hierarchy/level_matrix.hpp"

#include <cmath>

namespace gabp {

// S A S with permuted rows, where that helps; otherwise the user's own arrays.
template <class W>
class Preparation {
public:
    // `order`: null to choose one, else kept; empty for the user's.
    Preparation(const Pattern &pattern, const W *weight, const W *diagonal, const Array<std::int32_t> *order,
                Team &team);

    RowsView<W> rows() const;
    Array<std::int32_t> take_order() { return std::move(order_); }  // row i of rows() is the user's row order[i]
    Array<double> take_scale() { return std::move(scale_); }        // S, in the new order; powers of two
    Array<double> take_diagonal() { return std::move(diagonal_); }  // that of rows()
    // Whether neighbourhoods grow like a mesh's: those of expanders, trees or random graphs do not, and aggregates
    // hold few of their couplings.
    bool bounded_growth() const { return bounded_growth_; }
    bool lacks_locality() const { return lacks_locality_; }  // unbounded growth, and most couplings join row blocks
    // The smallest mean, over windows of rows in the user's order, of the relative slack of diagonal dominance
    // max(0, 1 - sum_j |A_ij| / A_ii). 0 where rows were permuted, and where diagonal entries differ so much that strong
    // clusters may stand among weak neighbours: what dominates their rows does not hold the clusters.
    double dominance_slack() const { return order_.size() > 0 ? 0.0 : dominance_slack_; }
    double norm_bound() const { return norm_bound_; }  // of rows(): the largest absolute row sum

private:
    struct RowStatistics {
        double smallest = INFINITY, largest = 0.0;  // diagonal entries
        double norm = 0.0;                          // the largest absolute row sum
        double couplings = 0.0, cross = 0.0;        // sums of magnitudes: all, and those between row blocks
        double dominance_slack = 1.0;
        void join(const RowStatistics &other);
    };
    RowStatistics scan_rows(Team &team);  // fills diagonal_ and row_sum_
    RowStatistics scan_block(std::int32_t begin, std::int32_t end);
    void choose_order(const RowStatistics &statistics);
    bool has_bounded_growth() const;
    void choose_scale(const RowStatistics &statistics, Team &team);
    bool scaling_improves_constants(const std::vector<std::int32_t> &block, Team &team) const;
    void rewrite(Team &team);
    void scale_in_place(Team &team);
    void permute(Team &team);

    std::int32_t n_;
    const std::int64_t *start_;
    const std::int32_t *column_;
    const W *weight_;
    const W *given_diagonal_;
    Array<double> diagonal_, row_sum_, scale_;
    Array<std::int32_t> order_;
    Array<std::int64_t> own_start_;
    Array<std::int32_t> own_column_;
    Array<W> own_weight_;
    double norm_bound_ = 0.0, dominance_slack_ = 0.0;
    bool bounded_growth_ = true, lacks_locality_ = false;
};

}  // namespace gabp
