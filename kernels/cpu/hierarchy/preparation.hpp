// From the user's matrix to one the hierarchy can be built on: neighbours close to each other in the row
// order, and values that float32 can hold.
#pragma once

#include "hierarchy/level_matrix.hpp"

#include <cmath>

namespace gabp {

// S A S with rows in a new order, where that helps; otherwise the user's own arrays.
template <class W>
class Preparation {
public:
    // `order`: null to choose one, else to be kept; empty for the user's.
    Preparation(std::int32_t n, const std::int64_t *start, const std::int32_t *column, const W *weight,
                const W *diagonal, const Array<std::int32_t> *order, Team &team);

    RowsView<W> rows() const;
    Array<std::int32_t> take_order() { return std::move(order_); }  // row i of rows() is the user's row order[i]
    Array<double> take_scale() { return std::move(scale_); }        // S, in the new order; powers of two
    Array<double> take_diagonal() { return std::move(diagonal_); }  // that of rows()
    bool is_mesh() const { return is_mesh_; }  // false: neighbourhoods grow like a tree's, clusters cannot hold them
    bool scattered() const { return scattered_; }  // no mesh, and most couplings lie between row blocks
    // The smallest mean, over stretches of rows in the user's order, of the share of a diagonal entry that its row's
    // couplings leave: how firmly each neighbourhood is held. 0 where rows were moved.
    double grounding() const { return order_.size() > 0 ? 0.0 : grounding_; }
    double norm_bound() const { return norm_bound_; }  // of rows(): the largest absolute row sum

private:
    struct Survey {
        double smallest = INFINITY, largest = 0.0;  // diagonal entries
        double norm = 0.0;                          // the largest absolute row sum
        double couplings = 0.0, across = 0.0;       // sums of magnitudes: all, and those between row blocks
        double grounding = 1.0;
    };
    Survey look_through(Team &team);  // and fills diagonal_ and slack_
    void choose_order(const Survey &survey);
    void choose_scale(const Survey &survey, Team &team);
    void rewrite(Team &team);
    void scale_in_place(Team &team);
    void move(Team &team);

    std::int32_t n_;
    const std::int64_t *start_;
    const std::int32_t *column_;
    const W *weight_;
    const W *given_diagonal_;
    Array<double> diagonal_, slack_, scale_;
    Array<std::int32_t> order_;
    Array<std::int64_t> own_start_;
    Array<std::int32_t> own_column_;
    Array<W> own_weight_;
    double norm_bound_ = 0.0, grounding_ = 0.0;
    bool is_mesh_ = true, scattered_ = false;
};

}  // namespace gabp
