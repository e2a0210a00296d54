// Exact elimination of the coarsest level: Cholesky within the envelope of a reverse Cuthill-McKee order.
#pragma once

#include "hierarchy/level_matrix.hpp"

#include <vector>

namespace gabp {

// kernels/torch/multigrid_levels.py has the same value (`multigrid_constants` in the bindings).
constexpr double singular_pivot = 1e-12;  // a pivot below this share of its diagonal is rounding

class EnvelopeCholesky {
public:
    // Factors A, unless the factor would take more than `most` numbers: then false, and it stays empty.
    template <class W>
    bool compute(const RowsView<W> &rows, std::int64_t most);

    // x = A^-1 b for (n, columns) float32 arrays; `work` has room for n * columns numbers.
    void solve(const float *b, float *x, int columns, double *work) const;

    bool empty() const { return order_.empty(); }
    std::int64_t size() const { return start_.empty() ? 0 : start_.back(); }

private:
    std::vector<std::int32_t> order_;  // the row eliminated k-th
    std::vector<std::int32_t> first_;  // first column of each row of the factor
    std::vector<std::int64_t> start_;  // row k is value_[start_[k] .. start_[k + 1]), diagonal last
    std::vector<double> value_;
};

}  // namespace gabp
