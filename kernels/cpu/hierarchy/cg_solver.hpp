// Conjugate gradients at work on A y = r, for up to eight columns at once.
#pragma once

#include "hierarchy/row_kernels.hpp"

#include <cstdint>
#include <vector>

namespace gabp {

class Gradients {
public:
    virtual ~Gradients() = default;
    // One step; the norms of the residuals are known afterwards.
    virtual void step() = 0;
    virtual void write_solution(double *out, std::int64_t stride) = 0;
    virtual void write_direction(int column, double *out) const = 0;
    const std::vector<double> &norms() const { return norm_; }  // of the residuals, by the recurrence
    // Whether the last step lowered the energy of a column's error by more than a trace of all that was gained: where
    // A is ill-conditioned, the norm of the residual rises for long before it falls.
    bool gained_energy() const { return gained_energy_; }
    int columns() const { return columns_; }
    // A column along whose last direction A has no curvature beyond rounding, or -1.
    int suspect() const { return suspect_; }

protected:
    explicit Gradients(int columns)
        : columns_(columns), width_(padded_columns(columns)), kernel_(row_kernels(width_)),
          alpha_(static_cast<std::size_t>(width_)), beta_(alpha_.size()), energy_(alpha_.size()), norm_(alpha_.size()),
          gained_(alpha_.size()) {}

    // No column has gained, nor is it suspect, before its step is chosen.
    void begin_step();
    // Sets alpha and energy of a column from p'Ap, p'r, |p|^2 and a bound of |A|.
    void choose_step(int column, double energy, double match, double length2, double norm_bound);
    // Adds up the sums of all blocks, `count` for each.
    void sum_blocks(int blocks, int count);

    const int columns_, width_;  // width: columns padded to 1, 2, 4 or 8
    const RowKernels &kernel_;
    std::vector<double> alpha_, beta_, energy_, norm_, dots_;
    std::vector<double> gained_;  // energy, by all steps
    bool gained_energy_ = false;  // by the last
    int suspect_ = -1;
};

}  // namespace gabp
