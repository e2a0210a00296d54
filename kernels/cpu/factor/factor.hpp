// A sparse Cholesky factor A = L Lᵀ in fronts, and what is computed from it.
#pragma once

#include "common/array.hpp"
#include "factor/symbolic.hpp"

#include <memory>
#include <vector>

namespace gabp {

// Uninitialised storage: fronts are large and fully written.
using Block = std::unique_ptr<double[]>;

// A symmetric matrix on a pattern: weight[e] on edge e, in both triangles.
struct Values {
    const double *diagonal;
    const double *weight;
};

class Factor {
public:
    Factor(std::shared_ptr<const Symbolic> symbolic, const Pattern &pattern, const Values &values, int threads);

    // The first node (in the order of elimination) at which A is not positive definite, or -1.
    std::int32_t bad_node() const { return bad_node_; }
    double log_determinant() const;

    // x (n, k), one row per node, is overwritten: by A⁻¹ x, or by the sample part L⁻ᵀ x, x in the order of
    // elimination.
    void solve(double *x, std::int64_t k, int threads) const;
    void solve_upper(double *x, std::int64_t k, int threads) const;

    // diag(A⁻¹), and the entries of A⁻¹ on the pattern of A; pattern as in the constructor, with reverse.
    void selected_inverse(const Pattern &pattern, double *diagonal, double *weight, int threads) const;

    const Symbolic &symbolic() const { return *symbolic_; }
    const double *panel(std::int32_t s) const { return panels_.data() + symbolic_->panel_start[s]; }

private:
    std::shared_ptr<const Symbolic> symbolic_;
    Array<double> panels_;
    std::int32_t bad_node_ = -1;
};

}  // namespace gabp
