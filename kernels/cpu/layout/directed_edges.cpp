// What slots as they come tell without a layout: the residual of a solution, and a summary of the rows.
#include "common/pool.hpp"
#include "bindings/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace gabp {
namespace {

constexpr std::int64_t rows_per_task = 4096;
constexpr int most_columns = 8;  // whose sums stay in registers

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

// r = b - A x for K of the columns that lie `stride` apart. A row's products are added in the order of its columns,
// the diagonal's among them, as by scipy: where rounding decides about a tolerance, both come to the same sum.
template <int K, class T>
void subtract_product(const std::int64_t *start, const std::int32_t *source, const T *weight, const T *diagonal,
                      const double *x, const double *b, double *r, std::int64_t stride, std::int64_t first,
                      std::int64_t last) {
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

// A sum carried along with what rounding took from it (Ogita, Rump and Oishi 2005, Dot2).
struct CarefulSum {
    double value, lost = 0.0;
    void subtract_product(double a, double x) {
        const double product = -a * x, sum = value + product, part = sum - value;
        lost += ((value - (sum - part)) + (product - part)) + std::fma(-a, x, -product);
        value = sum;
    }
};

// The same for one column, as if in twice the precision.
template <class T>
void subtract_product_carefully(const std::int64_t *start, const std::int32_t *source, const T *weight,
                                const T *diagonal, const double *x, const double *b, double *r, std::int64_t stride,
                                std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
        CarefulSum sum{b[i * stride]};
        sum.subtract_product(static_cast<double>(diagonal[i]), x[i * stride]);
        for (std::int64_t e = start[i]; e < start[i + 1]; ++e)
            sum.subtract_product(static_cast<double>(weight[e]), x[source[e] * stride]);
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
    m.def("slot_residual", [](Offsets start, Nodes source, Vector<const T> weight, Vector<const T> diagonal,
                              Columns<const double> x, Columns<const double> b, Columns<double> r, bool carefully,
                              int threads) {
        const auto n = static_cast<std::int64_t>(diagonal.shape(0)), columns = static_cast<std::int64_t>(b.shape(1));
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1 && source.shape(0) == weight.shape(0),
                "start, source, weight and diagonal do not fit together");
        require(static_cast<std::int64_t>(x.shape(0)) == n && b.shape(0) == x.shape(0) && r.shape(0) == x.shape(0) &&
                    x.shape(1) == b.shape(1) && r.shape(1) == b.shape(1),
                "x, b and r do not fit together");
        nb::gil_scoped_release release;
        for_ranges(threads, n, rows_per_task, [&](std::int64_t first, std::int64_t last) {
            const auto subtract = [&](auto kernel, std::int64_t c) {
                kernel(start.data(), source.data(), weight.data(), diagonal.data(), x.data() + c, b.data() + c,
                       r.data() + c, columns, first, last);
            };
            std::int64_t c = 0;
            for (; carefully && c < columns; ++c) subtract(subtract_product_carefully<T>, c);
            for (; c + most_columns <= columns; c += most_columns) subtract(subtract_product<most_columns, T>, c);
            for (; c < columns; ++c) subtract(subtract_product<1, T>, c);
        });
    });
}

}  // namespace

void bind_slots(nb::module_ &m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
