// Flexible conjugate gradients on A y = r, preconditioned by the cycle, for up to eight columns at once.
#pragma once

#include "hierarchy.hpp"

#include <memory>
#include <vector>

namespace gabp {

enum class Failure { none, not_positive_definite, breakdown };

class ConjugateGradients {
public:
    // residual: (n, columns) by rows with the given stride; columns is 1 to 8.
    ConjugateGradients(const Hierarchy &hierarchy, const double *residual, std::int64_t stride, int columns,
                       Cycle cycle, Team &team);

    // One step. Its residual norms are known afterwards without another pass.
    Failure step();
    const std::vector<double> &norms() const { return norm_; }  // of the residuals, by the recurrence
    // Whether the last step lowered the energy of a column's error by more than a trace of all that was gained: where
    // A is ill-conditioned, the norm of the residual rises for long before it falls.
    bool gained_energy() const { return gained_energy_; }
    void write_solution(double *out, std::int64_t stride);
    int columns() const { return columns_; }
    int failed_column() const { return failed_column_; }
    void write_direction(int column, double *out) const;

private:
    void choose_units();
    void settle();
    void measure();

    const Hierarchy &hierarchy_;
    const int columns_, width_;  // width: columns padded to 1, 2, 4 or 8
    Team &team_;
    const SweepKernels &kernel_;
    Passage passage_;
    Array<double> solution_, residual_, direction_, image_;
    Array<float> b_, z_;
    std::vector<double> alpha_, beta_, energy_, norm_, dots_;
    std::vector<double> unit_;    // of each column: a power of two that brings a scaled residual within float32
    std::vector<double> gained_;  // energy, by all steps
    bool gained_energy_ = false;
    int steps_ = 0, failed_column_ = -1;
};

}  // namespace gabp
