// Conjugate gradients for any number of columns, in groups of up to eight that share every sweep.
#pragma once

#include "hierarchy/cg_solver.hpp"

#include "common/team.hpp"

#include <cmath>
#include <functional>
#include <memory>
#include <vector>

namespace gabp {

class BatchedCG {
public:
    // Makes the solver of the columns first, ..., first + count - 1; it may keep the reference to the team.
    using MakeSolver = std::function<std::unique_ptr<CGSolver>(std::int64_t first, int count, Team &)>;

    BatchedCG(std::int64_t n, std::int64_t columns, Team team, const MakeSolver &make);
    BatchedCG(const BatchedCG &) = delete;
    BatchedCG &operator=(const BatchedCG &) = delete;

    // At most `most` iterations, until every column's norm is within its target, no column has improved, in norm or
    // in energy, for `stall_limit` iterations (or half of all, if more), or a direction has no curvature beyond
    // rounding. Returns the iterations done.
    std::int64_t iterate(std::int64_t most, const double *target, std::int64_t stall_limit);

    std::int64_t n() const { return n_; }
    std::int64_t columns() const { return columns_; }
    void write_solution(double *out);
    std::vector<double> norms() const;
    // Whether the last iteration met a direction along which A has no curvature beyond rounding.
    bool met_flat_direction() const { return flat_group_ >= 0; }
    void write_flat_direction(double *out) const;

private:
    bool reached(std::size_t g, const double *target) const;
    bool norm_decreased(std::size_t g);

    std::int64_t n_;
    std::int64_t columns_;
    Team team_;
    std::vector<std::unique_ptr<CGSolver>> group_;
    int flat_group_ = -1;
    std::vector<double> lowest_;  // norm of each column so far
    std::int64_t stalled_ = 0, iterations_ = 0;
};

}  // namespace gabp
