#include "blocks/block_products.hpp"

#include <algorithm>

namespace gabp {
namespace {

// c (p × r) += a (p × q) b (q × r), all column by column.
template <int P, int Q, int R>
inline void multiply_add(const double *a, const double *b, double *c, int dp, int dq, int dr) {
    const int p = size_or<P>(dp), q = size_or<Q>(dq), r = size_or<R>(dr);
    for (int k = 0; k < r; ++k)
        for (int j = 0; j < q; ++j) {
            const double factor = b[k * q + j];
            for (int i = 0; i < p; ++i) c[k * p + i] += a[j * p + i] * factor;
        }
}

// c (q × r) += aᵀ b for a (p × q) and b (p × r).
template <int P, int Q, int R>
inline void transposed_multiply_add(const double *a, const double *b, double *c, int dp, int dq, int dr) {
    const int p = size_or<P>(dp), q = size_or<Q>(dq), r = size_or<R>(dr);
    for (int k = 0; k < r; ++k)
        for (int j = 0; j < q; ++j) {
            double sum = 0.0;
            for (int i = 0; i < p; ++i) sum += a[j * p + i] * b[k * p + i];
            c[k * q + j] += sum;
        }
}

// Calls run(D, K) for the heights and widths that are specialised.
template <class Run>
void with_sizes(int d, int k, Run run) {
    with_size(d, [&](auto D) {
        if (k == d)
            run(D, D);
        else if (d == 3 && k == 6)
            run(D, std::integral_constant<int, 6>());
        else if (d == 2 && k == 3)
            run(D, std::integral_constant<int, 3>());
        else
            run(D, std::integral_constant<int, 0>());
        return 0;
    });
}

// Sums blocks by their column while one row is being made.
class RowSum {
public:
    RowSum(std::int32_t columns, std::int64_t size) : size_(size), place_(static_cast<std::size_t>(columns), -1) {}
    double *block(std::int32_t column) {
        std::int32_t &at = place_[column];
        if (at < 0) {
            at = static_cast<std::int32_t>(column_.size());
            column_.push_back(column);
            value_.resize(column_.size() * static_cast<std::size_t>(size_), 0.0);
        }
        return value_.data() + at * size_;
    }
    // Appends the row, columns ascending, and begins the next.
    void append(std::vector<std::int32_t> &columns, std::vector<double> &values) {
        order_ = column_;
        std::sort(order_.begin(), order_.end());
        for (const std::int32_t c : order_) {
            const double *from = value_.data() + place_[c] * size_;
            columns.push_back(c);
            values.insert(values.end(), from, from + size_);
            place_[c] = -1;
        }
        column_.clear();
        value_.clear();
    }
    std::size_t count() const { return column_.size(); }

private:
    std::int64_t size_;
    std::vector<std::int32_t> place_, column_, order_;
    std::vector<double> value_;
};

struct RowsOfTask {
    std::vector<std::int64_t> length;
    std::vector<std::int32_t> column;
    std::vector<double> value;
};

BlockMatrix<double> joined(std::vector<RowsOfTask> &&parts, std::int32_t rows, std::int32_t columns, int height,
                           int width, Team &team) {
    BlockMatrix<double> out;
    out.rows = rows, out.columns = columns;
    out.height = height, out.width = width;
    out.start = Array<std::int64_t>(std::int64_t(rows) + 1);
    out.start[0] = 0;
    std::int64_t i = 0;
    for (const RowsOfTask &part : parts)
        for (const std::int64_t length : part.length) {
            out.start[i + 1] = out.start[i] + length;
            ++i;
        }
    out.column = Array<std::int32_t>(out.blocks());
    out.value = Array<double>(out.blocks() * out.block_size() + 1);
    team.each(static_cast<std::int64_t>(parts.size()), [&](std::int64_t task) {
        RowsOfTask &part = parts[task];
        const std::int64_t first = out.start[task * rows_per_task];
        std::copy(part.column.begin(), part.column.end(), out.column.data() + first);
        std::copy(part.value.begin(), part.value.end(), out.at(first));
        part = RowsOfTask();
    });
    return out;
}

}  // namespace

TransposedPattern transposed(const std::int64_t *start, const std::int32_t *column, std::int32_t rows,
                             std::int32_t columns) {
    TransposedPattern out{Array<std::int64_t>(std::int64_t(columns) + 1), Array<std::int32_t>(start[rows]),
                          Array<std::int64_t>(start[rows])};
    std::fill(out.start.data(), out.start.data() + columns + 1, 0);
    for (std::int64_t e = 0; e < start[rows]; ++e) ++out.start[column[e] + 1];
    for (std::int32_t c = 0; c < columns; ++c) out.start[c + 1] += out.start[c];
    std::vector<std::int64_t> next(out.start.data(), out.start.data() + columns);
    for (std::int32_t i = 0; i < rows; ++i)
        for (std::int64_t e = start[i]; e < start[i + 1]; ++e) {
            const std::int64_t at = next[column[e]]++;
            out.row[at] = i;
            out.block[at] = e;
        }
    return out;
}

BlockMatrix<double> product(const BlockMatrix<double> &a, const BlockMatrix<double> &p, Team &team) {
    std::vector<RowsOfTask> parts(static_cast<std::size_t>((a.rows + rows_per_task - 1) / rows_per_task));
    with_sizes(a.height, p.width, [&](auto D, auto K) {
        team.each(static_cast<std::int64_t>(parts.size()), [&](std::int64_t task) {
            RowSum row(p.columns, std::int64_t(a.height) * p.width);
            const auto last = std::min<std::int64_t>(a.rows, (task + 1) * rows_per_task);
            for (std::int64_t i = task * rows_per_task; i < last; ++i) {
                for (std::int64_t e = a.start[i]; e < a.start[i + 1]; ++e)
                    for (std::int64_t f = p.start[a.column[e]]; f < p.start[a.column[e] + 1]; ++f)
                        multiply_add<D.value, D.value, K.value>(a.at(e), p.at(f), row.block(p.column[f]), a.height,
                                                                a.height, p.width);
                parts[task].length.push_back(static_cast<std::int64_t>(row.count()));
                row.append(parts[task].column, parts[task].value);
            }
        });
    });
    return joined(std::move(parts), a.rows, p.columns, a.height, p.width, team);
}

void smooth_prolongation(const BlockMatrix<double> &a, const double *inverse, double omega, BlockMatrix<double> &p,
                         Team &team) {
    BlockMatrix<double> image = product(a, p, team);  // its pattern holds that of P, since A has its diagonal
    with_sizes(a.height, p.width, [&](auto D, auto K) {
        each_range(team, a.rows, [&](std::int64_t first, std::int64_t last) {
            const int d = size_or<D.value>(a.height), k = size_or<K.value>(p.width);
            std::vector<double> block(static_cast<std::size_t>(d) * k);
            for (std::int64_t i = first; i < last; ++i) {
                std::int64_t f = p.start[i];
                for (std::int64_t e = image.start[i]; e < image.start[i + 1]; ++e) {
                    std::fill(block.begin(), block.end(), 0.0);
                    multiply_add<D.value, D.value, K.value>(inverse + i * d * d, image.at(e), block.data(), d, d, k);
                    const bool own = f < p.start[i + 1] && p.column[f] == image.column[e];
                    for (int c = 0; c < d * k; ++c) image.at(e)[c] = (own ? p.at(f)[c] : 0.0) - omega * block[c];
                    f += own;
                }
            }
        });
    });
    p = std::move(image);
}

BlockMatrix<double> galerkin(const BlockMatrix<double> &a, const BlockMatrix<double> &p,
                             const TransposedPattern &by_column, Team &team) {
    const BlockMatrix<double> image = product(a, p, team);
    const int k = p.width;
    // the upper triangle, row by row
    std::vector<RowsOfTask> parts(static_cast<std::size_t>((p.columns + rows_per_task - 1) / rows_per_task));
    with_sizes(a.height, k, [&](auto D, auto K) {
        team.each(static_cast<std::int64_t>(parts.size()), [&](std::int64_t task) {
            RowSum row(p.columns, std::int64_t(k) * k);
            const auto last = std::min<std::int64_t>(p.columns, (task + 1) * rows_per_task);
            for (std::int64_t i = task * rows_per_task; i < last; ++i) {
                for (std::int64_t t = by_column.start[i]; t < by_column.start[i + 1]; ++t) {
                    const std::int32_t fine = by_column.row[t];
                    const double *left = p.at(by_column.block[t]);
                    for (std::int64_t e = image.start[fine]; e < image.start[fine + 1]; ++e)
                        if (image.column[e] >= i)
                            transposed_multiply_add<D.value, K.value, K.value>(left, image.at(e),
                                                                               row.block(image.column[e]), a.height, k, k);
                }
                double *own = row.block(static_cast<std::int32_t>(i));
                for (int c = 0; c < k; ++c) {
                    if (own[c * k + c] == 0.0) own[c * k + c] = 1.0;
                    for (int r = 0; r < c; ++r) own[c * k + r] = own[r * k + c] = 0.5 * (own[c * k + r] + own[r * k + c]);
                }
                parts[task].length.push_back(static_cast<std::int64_t>(row.count()));
                row.append(parts[task].column, parts[task].value);
            }
        });
    });
    const BlockMatrix<double> upper = joined(std::move(parts), p.columns, p.columns, k, k, team);
    const TransposedPattern mirror = transposed(upper.start.data(), upper.column.data(), p.columns, p.columns);
    BlockMatrix<double> out;
    out.rows = out.columns = p.columns;
    out.height = out.width = k;
    out.start = Array<std::int64_t>(std::int64_t(p.columns) + 1);
    out.start[0] = 0;
    for (std::int32_t i = 0; i < p.columns; ++i)
        out.start[i + 1] = out.start[i] + (mirror.start[i + 1] - mirror.start[i]) + (upper.start[i + 1] - upper.start[i]) - 1;
    out.column = Array<std::int32_t>(out.blocks());
    out.value = Array<double>(out.blocks() * out.block_size() + 1);
    each_range(team, p.columns, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
            std::int64_t to = out.start[i];
            for (std::int64_t t = mirror.start[i]; mirror.row[t] < i; ++t, ++to) {
                out.column[to] = mirror.row[t];
                const double *from = upper.at(mirror.block[t]);
                for (int c = 0; c < k; ++c)
                    for (int r = 0; r < k; ++r) out.at(to)[c * k + r] = from[r * k + c];
            }
            const std::int64_t from = upper.start[i], count = upper.start[i + 1] - from;
            std::copy(upper.column.data() + from, upper.column.data() + from + count, out.column.data() + to);
            std::copy(upper.at(from), upper.at(from + count), out.at(to));
        }
    });
    return out;
}

}  // namespace gabp
