#include "hierarchy/envelope.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr double float_limit = 1e30;

template <class W>
std::vector<std::int32_t> reverse_cuthill_mckee(const RowsView<W> &rows) {
    const auto degree = [&](std::int32_t i) { return rows.start[i + 1] - rows.start[i]; };
    std::vector<std::int32_t> order, by_degree(static_cast<std::size_t>(rows.n));
    std::vector<char> seen(static_cast<std::size_t>(rows.n), 0);
    order.reserve(by_degree.size());
    for (std::int32_t i = 0; i < rows.n; ++i) by_degree[i] = i;
    std::stable_sort(by_degree.begin(), by_degree.end(),
                     [&](std::int32_t a, std::int32_t b) { return degree(a) < degree(b); });
    std::vector<std::int32_t> next;
    for (const std::int32_t root : by_degree) {
        if (seen[root]) continue;
        seen[root] = 1;
        std::size_t head = order.size();
        order.push_back(root);
        for (; head < order.size(); ++head) {
            const std::int32_t i = order[head];
            next.clear();
            for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e)
                if (!seen[rows.column[e]]) {
                    seen[rows.column[e]] = 1;
                    next.push_back(rows.column[e]);
                }
            std::stable_sort(next.begin(), next.end(),
                             [&](std::int32_t a, std::int32_t b) { return degree(a) < degree(b); });
            order.insert(order.end(), next.begin(), next.end());
        }
    }
    std::reverse(order.begin(), order.end());
    return order;
}

}  // namespace

template <class W>
bool EnvelopeCholesky::compute(const RowsView<W> &rows, std::int64_t most) {
    const std::int32_t n = rows.n;
    const RowKernels &kernel = row_kernels(1);
    std::vector<std::int32_t> order = reverse_cuthill_mckee(rows), place(static_cast<std::size_t>(n));
    for (std::int32_t k = 0; k < n; ++k) place[order[k]] = k;
    std::vector<std::int32_t> first(static_cast<std::size_t>(n));
    std::vector<std::int64_t> start(static_cast<std::size_t>(n) + 1);
    for (std::int32_t k = 0; k < n; ++k) {
        first[k] = k;
        for (std::int64_t e = rows.start[order[k]]; e < rows.start[order[k] + 1]; ++e)
            first[k] = std::min(first[k], place[rows.column[e]]);
        start[k + 1] = start[k] + (k - first[k] + 1);
        if (start[k + 1] > most) return false;
    }
    value_.assign(static_cast<std::size_t>(start[n]), 0.0);
    for (std::int32_t k = 0; k < n; ++k) {
        double *row = value_.data() + start[k] - first[k];  // row[j] for first[k] <= j <= k
        for (std::int64_t e = rows.start[order[k]]; e < rows.start[order[k] + 1]; ++e) {
            const std::int32_t j = place[rows.column[e]];
            if (j < k) row[j] = rows.weight[e];
        }
        const double diagonal = rows.diagonal[order[k]];
        double pivot = diagonal;
        for (std::int32_t j = first[k]; j < k; ++j) {
            const double *other = value_.data() + start[j] - first[j];
            const std::int32_t i = std::max(first[k], first[j]);
            row[j] = (row[j] - kernel.row_dot(row + i, other + i, j - i)) / other[j];
            pivot -= row[j] * row[j];
        }
        // A pivot at rounding level completes a singular component: any positive value grounds it. A negative one means
        // that no Cholesky factor exists: the row is decoupled, so that it cannot blow up the others.
        if (!(pivot > -singular_pivot * diagonal)) std::fill(row + first[k], row + k, 0.0);
        row[k] = std::sqrt(pivot > singular_pivot * diagonal ? pivot : diagonal);
    }
    order_ = std::move(order);
    first_ = std::move(first);
    start_ = std::move(start);
    return true;
}

void EnvelopeCholesky::solve(const float *b, float *x, int columns, double *work) const {
    const auto n = static_cast<std::int32_t>(order_.size());
    const RowKernels &kernel = row_kernels(1);
    for (int c = 0; c < columns; ++c) {
        double *y = work;
        for (std::int32_t k = 0; k < n; ++k) {
            const double *row = value_.data() + start_[k] - first_[k];
            const double s = b[std::int64_t(order_[k]) * columns + c];
            y[k] = (s - kernel.row_dot(row + first_[k], y + first_[k], k - first_[k])) / row[k];
        }
        double largest = 0.0;
        for (std::int32_t k = n - 1; k >= 0; --k) {
            const double *row = value_.data() + start_[k] - first_[k];
            y[k] /= row[k];
            largest = std::max(largest, std::abs(y[k]));
            kernel.row_subtract(y[k], row + first_[k], y + first_[k], k - first_[k]);
        }
        // Where A is indefinite the factor can exceed float32's range; then only the direction matters.
        const double unit = largest > float_limit ? float_limit / largest : 1.0;
        for (std::int32_t k = 0; k < n; ++k)
            x[std::int64_t(order_[k]) * columns + c] = static_cast<float>(unit * y[k]);
    }
}

template bool EnvelopeCholesky::compute(const RowsView<float> &, std::int64_t);
template bool EnvelopeCholesky::compute(const RowsView<double> &, std::int64_t);

}  // namespace gabp
