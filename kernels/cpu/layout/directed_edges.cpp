// Passes over directed edges without a layout: residuals, and a summary of the rows.
#include "common/pool.hpp"
#include "bindings/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace gabp {
namespace {

constexpr std::int64_t rows_per_task = 4096;
constexpr int panel_columns = 8;  // whose sums stay in registers

struct RowSummary {
    double smallest_diagonal = INFINITY, norm = 0.0, dominance = 0.0;
};

template <class T>
RowSummary summarize(const std::int64_t *start, const T *weight, const T *diagonal, std::int64_t n, int threads) {
    std::vector<RowSummary> part(static_cast<std::size_t>((n + rows_per_task - 1) / rows_per_task));
    for_ranges(threads, n, rows_per_task, [&](std::int64_t first, std::int64_t last) {
        RowSummary s;
        for (std::int64_t i = first; i < last; ++i) {
            double sum = 0.0;
            for (std::int64_t e = start[i]; e < start[i + 1]; ++e) sum += std::abs(static_cast<double>(weight[e]));
            const double d = diagonal[i], size = std::abs(d);
            s.smallest_diagonal = std::min(s.smallest_diagonal, d);
            s.norm = std::max(s.norm, size + sum);
            if (sum > s.dominance * size) s.dominance = sum / size;
        }
        part[static_cast<std::size_t>(first / rows_per_task)] = s;
    });
    RowSummary all;
    for (const RowSummary &s : part) {
        all.smallest_diagonal = std::min(all.smallest_diagonal, s.smallest_diagonal);
        all.norm = std::max(all.norm, s.norm);
        all.dominance = std::max(all.dominance, s.dominance);
    }
    return all;
}

// A matrix and vectors of `stride` columns.
template <class T>
struct ResidualArrays {
    Pattern edges;
    const T *weight, *diagonal;
    const double *x, *b;
    double *r;
    std::int64_t stride;
};

// r = b - A x for K columns from `column` on, in rows [first, last). The products of a row are added in column order,
// the diagonal's among them, as in scipy: the sums are bitwise identical.
template <int K, class T>
void subtract_product(const ResidualArrays<T> &arrays, std::int64_t column, std::int64_t first, std::int64_t last) {
    const std::int64_t *start = arrays.edges.start;
    const std::int32_t *source = arrays.edges.source;
    const T *weight = arrays.weight, *diagonal = arrays.diagonal;
    const double *x = arrays.x + column, *b = arrays.b + column;
    double *r = arrays.r + column;
    const std::int64_t stride = arrays.stride;
    for (std::int64_t i = first; i < last; ++i) {
        double sum[K] = {};
        const auto add = [&](T a, const double *from) {
            for (int c = 0; c < K; ++c) sum[c] += static_cast<double>(a) * from[c];
        };
        std::int64_t e = start[i];
        for (; e < start[i + 1] && source[e] < i; ++e) add(weight[e], x + source[e] * stride);
        add(diagonal[i], x + i * stride);
        for (; e < start[i + 1]; ++e) add(weight[e], x + source[e] * stride);
        for (int c = 0; c < K; ++c) r[i * stride + c] = b[i * stride + c] - sum[c];
    }
}

// Compensated dot product (Ogita, Rump and Oishi 2005, Dot2).
struct CompensatedSum {
    double value, lost = 0.0;
    void subtract_product(double a, double x) {
        const double product = -a * x, sum = value + product, part = sum - value;
        lost += ((value - (sum - part)) + (product - part)) + std::fma(-a, x, -product);
        value = sum;
    }
};

// The same for one column, as if in twice the precision.
template <class T>
void subtract_product_extended(const ResidualArrays<T> &arrays, std::int64_t column, std::int64_t first,
                               std::int64_t last) {
    const auto &[edges, weight, diagonal, x0, b0, r0, stride] = arrays;
    const double *x = x0 + column, *b = b0 + column;
    double *r = r0 + column;
    for (std::int64_t i = first; i < last; ++i) {
        CompensatedSum sum{b[i * stride]};
        sum.subtract_product(static_cast<double>(diagonal[i]), x[i * stride]);
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e)
            sum.subtract_product(static_cast<double>(weight[e]), x[edges.source[e] * stride]);
        r[i * stride] = sum.value + sum.lost;
    }
}

template <class T>
void bind(nb::module_ &m) {
    // (smallest diagonal, largest absolute row sum, largest sum of couplings over the diagonal)
    m.def("summarize_rows", [](Offsets start, Vector<const T> weight, Vector<const T> diagonal, int threads) {
        const auto n = static_cast<std::int64_t>(diagonal.shape(0));
        require(n > 0 && static_cast<std::int64_t>(start.shape(0)) == n + 1, "start and diagonal do not fit together");
        RowSummary s;
        {
            nb::gil_scoped_release release;
            s = summarize(start.data(), weight.data(), diagonal.data(), n, threads);
        }
        return nb::make_tuple(s.smallest_diagonal, s.norm, s.dominance);
    });
    m.def("edge_residual", [](Offsets start, Nodes source, Vector<const T> weight, Vector<const T> diagonal,
                              Columns<const double> x, Columns<const double> b, Columns<double> r,
                              bool extended_precision, int threads) {
        const auto n = static_cast<std::int64_t>(diagonal.shape(0)), columns = static_cast<std::int64_t>(b.shape(1));
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1 && source.shape(0) == weight.shape(0),
                "start, source, weight and diagonal do not fit together");
        require(static_cast<std::int64_t>(x.shape(0)) == n && b.shape(0) == x.shape(0) && r.shape(0) == x.shape(0) &&
                    x.shape(1) == b.shape(1) && r.shape(1) == b.shape(1),
                "x, b and r do not fit together");
        nb::gil_scoped_release release;
        const ResidualArrays<T> arrays{{start.data(), source.data(), n}, weight.data(), diagonal.data(), x.data(),
                                       b.data(), r.data(), columns};
        for_ranges(threads, n, rows_per_task, [&](std::int64_t first, std::int64_t last) {
            std::int64_t c = 0;
            for (; extended_precision && c < columns; ++c) subtract_product_extended(arrays, c, first, last);
            for (; c + panel_columns <= columns; c += panel_columns)
                subtract_product<panel_columns>(arrays, c, first, last);
            for (; c < columns; ++c) subtract_product<1>(arrays, c, first, last);
        });
    });
}

}  // namespace

void bind_directed_edges(nb::module_ &m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
