// Aggregation multigrid: the levels of a hierarchy, each the Galerkin product of the one before.
#pragma once

#include "hierarchy/envelope.hpp"
#include "hierarchy/level_matrix.hpp"
#include "hierarchy/preparation.hpp"

#include <vector>

namespace gabp {

// kernels/torch/multigrid_levels.py has the same values (`multigrid_constants` in the bindings).
constexpr double largest_coarsening_ratio = 0.8;  // coarse n / fine n above which a coarse level does not pay
constexpr double smallest_inner_share = 0.12;     // of the couplings, within aggregates: below, it does not pay ...
constexpr double largest_coupling_ratio = 0.5;    // ... unless it has at most this share of the couplings

struct Level {
    LevelMatrix matrix;
    EnvelopeCholesky factor;  // not empty: the coarsest level, eliminated exactly
};

// What depends on A alone; immutable once built.
class Hierarchy {
public:
    // `reuse`: null, or a hierarchy for other values on the same pattern, whose order and aggregates are kept.
    template <class W>
    Hierarchy(Preparation<W> &&prepared, const Hierarchy *reuse, Team &team);
    Hierarchy(const Hierarchy &) = delete;
    Hierarchy &operator=(const Hierarchy &) = delete;

    std::int32_t n() const { return n_; }
    std::int64_t couplings() const { return couplings_; }
    const std::vector<Level> &levels() const { return level_; }
    double norm_bound() const { return norm_bound_; }  // of A: the largest absolute row sum
    std::int64_t bytes() const;

    // Without levels: no row order brings neighbours together, and the diagonal alone preconditions.
    bool lacks_locality() const { return level_.empty(); }
    // Then: A in the arrays that the hierarchy was made of, which must outlive it, and its blocks of rows.
    const CsrView &csr() const { return csr_; }
    const std::vector<std::int32_t> &csr_blocks() const { return csr_block_; }

    // Row i of the finest level is scale(i) times the user's row user_row(i).
    std::int64_t user_row(std::int64_t i) const { return order_.data() ? order_[i] : i; }
    double scale(std::int64_t i) const { return scale_.data() ? scale_[i] : 1.0; }
    bool scaled() const { return scale_.data() != nullptr; }
    bool reordered() const { return order_.data() != nullptr; }
    const Array<std::int32_t> &order() const { return order_; }

private:
    template <class W>
    void build(const RowsView<W> &rows, bool coarsen, const Hierarchy *reuse, Team &team);
    template <class W>
    void keep_csr(const RowsView<W> &rows, Array<double> &&diagonal, Team &team);
    void set_norm_weights(Team &team);  // norms are those of the user's units

    std::int32_t n_;
    std::int64_t couplings_;
    std::vector<Level> level_;
    CsrView csr_{};
    std::vector<std::int32_t> csr_block_;
    Array<double> csr_diagonal_;
    Array<float> csr_inverse_;
    Array<std::int32_t> order_;
    Array<double> scale_;
    double norm_bound_ = 0.0;
};

}  // namespace gabp
