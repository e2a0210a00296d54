// Conjugate gradients for A y = r, for up to eight columns at once.
#pragma once

#include "hierarchy/row_kernels.hpp"

#include <cstdint>
#include <vector>

namespace gabp {

class CGSolver {
public:
    virtual ~CGSolver() = default;
    // One iteration; the norms of the residuals are known afterwards.
    virtual void iterate() = 0;
    virtual void write_solution(double *out, std::int64_t stride) = 0;
    virtual void write_direction(int column, double *out) const = 0;
    const std::vector<double> &norms() const { return norm_; }  // of the residuals, by the recurrence
    // Whether the last iteration lowered the energy of a column's error noticeably. Where A is ill-conditioned the
    // residual norm grows for long before it decreases, the energy never does.
    bool energy_decreased() const { return energy_decreased_; }
    int columns() const { return columns_; }
    // A column along whose last direction A has no curvature beyond rounding, or -1.
    int flat_column() const { return flat_column_; }

protected:
    explicit CGSolver(int columns)
        : columns_(columns), width_(padded_columns(columns)), kernel_(row_kernels(width_)),
          alpha_(static_cast<std::size_t>(width_)), beta_(alpha_.size()), curvature_(alpha_.size()),
          norm_(alpha_.size()), energy_decrease_(alpha_.size()) {}

    void begin_iteration();
    // Sets alpha and the curvature p'Ap of a column; slope = p'r, length2 = |p|^2, norm_bound >= |A|.
    void set_step_length(int column, double curvature, double slope, double length2, double norm_bound);
    // Adds up the sums of all blocks, `count` for each column.
    void sum_blocks(int blocks, int count);

    const int columns_, width_;  // width: columns padded to 1, 2, 4 or 8
    const RowKernels &kernel_;
    std::vector<double> alpha_, beta_, curvature_, norm_, dots_;
    std::vector<double> energy_decrease_;  // of each column's error, by all iterations
    bool energy_decreased_ = false;        // by the last iteration
    int flat_column_ = -1;
};

}  // namespace gabp
