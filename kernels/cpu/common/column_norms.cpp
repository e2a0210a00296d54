// Euclidean and maximum norms of the columns of (n, k) arrays. The sums are those of fixed ranges of rows, added in
// order: bitwise identical for any number of threads.
#include "common/pool.hpp"
#include "hierarchy/row_kernels.hpp"
#include "bindings/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace gabp {
namespace {

constexpr std::int64_t rows_per_task = 16384;

double sum_of_squares(const double *x, std::int64_t count) { return row_kernels(1).row_dot(x, x, count); }

// Compared as integers: the bits of magnitudes are ordered like the magnitudes, with NaN above all.
double largest_magnitude(const double *x, std::int64_t count) {
    constexpr std::uint64_t without_sign = ~std::uint64_t(0) >> 1;
    std::uint64_t most = 0;
    for (std::int64_t t = 0; t < count; ++t) {
        std::uint64_t bits;
        std::memcpy(&bits, x + t, sizeof bits);
        most = std::max(most, bits & without_sign);
    }
    double value;
    std::memcpy(&value, &most, sizeof value);
    return value;
}

// out[c] = join over all ranges of rows, in order, of reduce(column c of the range)
template <class Reduce, class Join>
void reduce_columns(const Columns<const double> &x, const Vector<double> &out, int threads, const Reduce &reduce,
                    const Join &join) {
    const auto n = static_cast<std::int64_t>(x.shape(0)), columns = static_cast<std::int64_t>(x.shape(1));
    require(static_cast<std::int64_t>(out.shape(0)) == columns, "out must have one entry per column");
    nb::gil_scoped_release release;
    const std::int64_t tasks = (n + rows_per_task - 1) / rows_per_task;
    std::vector<double> part(static_cast<std::size_t>(tasks * columns));
    for_ranges(threads, n, rows_per_task, [&](std::int64_t first, std::int64_t last) {
        double *mine = part.data() + first / rows_per_task * columns;
        if (columns == 1) {
            mine[0] = reduce(x.data() + first, last - first);
            return;
        }
        std::vector<double> column(static_cast<std::size_t>(last - first));
        for (std::int64_t c = 0; c < columns; ++c) {
            for (std::int64_t i = first; i < last; ++i) column[i - first] = x.data()[i * columns + c];
            mine[c] = reduce(column.data(), last - first);
        }
    });
    for (std::int64_t c = 0; c < columns; ++c) {
        double all = 0.0;
        for (std::int64_t task = 0; task < tasks; ++task) all = join(all, part[task * columns + c]);
        out.data()[c] = all;
    }
}

}  // namespace

void bind_column_norms(nb::module_ &m) {
    m.def("column_norms", [](Columns<const double> x, Vector<double> out, int threads) {
        reduce_columns(x, out, threads, sum_of_squares, [](double a, double b) { return a + b; });
        for (std::size_t c = 0; c < out.shape(0); ++c) out.data()[c] = std::sqrt(out.data()[c]);
    });
    m.def("largest_entries", [](Columns<const double> x, Vector<double> out, int threads) {
        reduce_columns(x, out, threads, largest_magnitude,
                       [](double a, double b) { return b > a || std::isnan(b) ? b : a; });
    });
}

}  // namespace gabp
