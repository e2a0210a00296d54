#include "hierarchy/preparation.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gabp {
namespace {

// Shares of the couplings, in magnitude.
constexpr double reorder_above = 0.25;      // between row blocks: above, another order is tried
constexpr double no_locality_above = 0.5;   // between row blocks: above, sweeps within blocks smooth little
constexpr double smallest_ball_share = 0.4;  // within a graph ball: below, neighbourhoods grow without bound
constexpr std::size_t ball_rows = 1000;
constexpr int balls = 5;
constexpr std::int32_t window_rows = 1024;  // of the mean dominance slack
// Largest over smallest diagonal entry.
constexpr double narrow_spread = 16.0;  // below: no scaling
constexpr double clustered_spread = 100.0;  // above: dominance may not hold strong clusters
constexpr double wide_spread = 1e24;    // above: always scaled, float32 could overflow
constexpr double float_limit = 1e12;

template <class Visit>
void breadth_first(std::int32_t root, const std::int64_t *start, const std::int32_t *column, Visit visit) {
    std::vector<std::int32_t> queue{root};
    visit(root);
    for (std::size_t head = 0; head < queue.size(); ++head)
        for (std::int64_t e = start[queue[head]]; e < start[queue[head] + 1]; ++e)
            if (visit(column[e])) queue.push_back(column[e]);
}

// Power of two nearest to 1 / sqrt(d).
double scale_for(double d) { return std::ldexp(1.0, -static_cast<int>(std::lround(0.5 * std::log2(d)))); }

}  // namespace

template <class W>
Preparation<W>::Preparation(const Pattern &pattern, const W *weight, const W *diagonal,
                            const Array<std::int32_t> *order, Team &team)
    : n_(static_cast<std::int32_t>(pattern.n)), start_(pattern.start), column_(pattern.source), weight_(weight),
      given_diagonal_(diagonal), diagonal_(n_), row_sum_(n_) {
    const RowStatistics statistics = scan_rows(team);
    norm_bound_ = statistics.norm;
    if (statistics.largest <= clustered_spread * statistics.smallest) dominance_slack_ = statistics.dominance_slack;
    if (order == nullptr) {
        choose_order(statistics);
    } else if (order->size() > 0) {
        order_ = Array<std::int32_t>(n_);
        std::copy(order->data(), order->data() + n_, order_.data());
    }
    if (!lacks_locality_) choose_scale(statistics, team);
    if (order_.size() > 0 || scale_.size() > 0) rewrite(team);
}

template <class W>
RowsView<W> Preparation<W>::rows() const {
    return {n_,
            own_start_.data() != nullptr ? own_start_.data() : start_,
            own_column_.data() != nullptr ? own_column_.data() : column_,
            own_weight_.data() != nullptr ? own_weight_.data() : weight_,
            diagonal_.data(),
            row_sum_.data()};
}

template <class W>
void Preparation<W>::RowStatistics::join(const RowStatistics &other) {
    smallest = std::min(smallest, other.smallest);
    largest = std::max(largest, other.largest);
    norm = std::max(norm, other.norm);
    couplings += other.couplings;
    cross += other.cross;
    dominance_slack = std::min(dominance_slack, other.dominance_slack);
}

template <class W>
typename Preparation<W>::RowStatistics Preparation<W>::scan_rows(Team &team) {
    const std::vector<std::int32_t> block = row_blocks(n_);
    std::vector<RowStatistics> part(block.size() - 1);
    team.each(static_cast<std::int64_t>(part.size()),
              [&](std::int64_t k) { part[k] = scan_block(block[k], block[k + 1]); });
    RowStatistics all;
    for (const RowStatistics &s : part) all.join(s);
    return all;
}

template <class W>
typename Preparation<W>::RowStatistics Preparation<W>::scan_block(std::int32_t begin, std::int32_t end) {
    const std::int32_t windows = std::max((end - begin) / window_rows, 1);
    RowStatistics s;
    std::int32_t window = 0, stop = begin;
    double slack_sum = 0.0;
    for (std::int32_t i = begin; i < end; ++i) {
        if (i == stop) {
            stop = begin + static_cast<std::int32_t>(std::int64_t(end - begin) * ++window / windows);
            slack_sum = 0.0;
        }
        const std::int64_t first = start_[i], last = start_[i + 1];
        const double d = given_diagonal_[i];
        double sum = 0.0, row_sum = d;
        for (std::int64_t e = first; e < last; ++e) {
            const double w = weight_[e];
            sum += std::abs(w);
            row_sum += w;
        }
        diagonal_[i] = d;
        row_sum_[i] = row_sum;
        s.smallest = std::min(s.smallest, d);
        s.largest = std::max(s.largest, d);
        s.norm = std::max(s.norm, d + sum);
        s.couplings += sum;
        if (sum < d) slack_sum += 1.0 - sum / d;
        if (i + 1 == stop) s.dominance_slack = std::min(s.dominance_slack, slack_sum * windows / (end - begin));
        if (first == last || (column_[first] >= begin && column_[last - 1] < end)) continue;
        for (std::int64_t e = first; e < last; ++e)
            if (column_[e] < begin || column_[e] >= end) s.cross += std::abs(static_cast<double>(weight_[e]));
    }
    return s;
}

template <class W>
void Preparation<W>::choose_order(const RowStatistics &statistics) {
    if (statistics.cross <= reorder_above * statistics.couplings) return;
    bounded_growth_ = has_bounded_growth();
    if (!bounded_growth_) {
        lacks_locality_ = statistics.cross > no_locality_above * statistics.couplings;
        return;
    }
    order_ = Array<std::int32_t>(n_);
    std::vector<char> seen(static_cast<std::size_t>(n_), 0);
    std::int32_t count = 0;
    for (std::int32_t root = 0; root < n_; ++root)
        if (!seen[root])
            breadth_first(root, start_, column_, [&](std::int32_t i) {
                if (seen[i]) return false;
                seen[i] = 1;
                order_[count++] = i;
                return true;
            });
}

// Whether graph balls around a few rows keep a good share of their couplings inside.
template <class W>
bool Preparation<W>::has_bounded_growth() const {
    double inside = 0.0, touched = 0.0;
    for (int s = 0; s < balls; ++s) {
        std::vector<std::int32_t> ball;
        std::vector<char> in(static_cast<std::size_t>(n_), 0);
        breadth_first(static_cast<std::int32_t>(std::int64_t(n_) * (2 * s + 1) / (2 * balls)), start_, column_,
                      [&](std::int32_t i) {
                          if (in[i] || ball.size() >= ball_rows) return false;
                          in[i] = 1;
                          ball.push_back(i);
                          return true;
                      });
        for (const std::int32_t i : ball)
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e) {
                const double w = std::abs(static_cast<double>(weight_[e]));
                touched += w;
                if (in[column_[e]]) inside += w;
            }
    }
    return inside >= smallest_ball_share * touched;
}

// A piecewise constant prolongation supposes a constant near-null space. Where that holds only after diagonal
// scaling, as on badly scaled systems, the rows are scaled.
template <class W>
void Preparation<W>::choose_scale(const RowStatistics &statistics, Team &team) {
    const bool outside = statistics.largest > float_limit || statistics.smallest < 1.0 / float_limit;
    if (statistics.largest <= narrow_spread * statistics.smallest && !outside) return;
    scale_ = Array<double>(n_);
    const std::vector<std::int32_t> block = row_blocks(n_);
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i) scale_[i] = scale_for(given_diagonal_[i]);
    });
    const bool improves = scaling_improves_constants(block, team);
    if (statistics.largest > wide_spread * statistics.smallest || improves) return;
    if (!outside) {
        scale_ = Array<double>();
        return;
    }
    const double common = scale_for(std::sqrt(statistics.largest) * std::sqrt(statistics.smallest));
    std::fill(scale_.data(), scale_.data() + n_, common);
}

// Whether the energy of the constant vector, per unit of diagonal, is less than half as large in the scaled matrix.
template <class W>
bool Preparation<W>::scaling_improves_constants(const std::vector<std::int32_t> &block, Team &team) const {
    struct Sums {
        double row_sum = 0.0, diagonal = 0.0, scaled_row_sum = 0.0, scaled_diagonal = 0.0;
    };
    std::vector<Sums> part(block.size());
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        Sums &s = part[k];
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i) {
            const double d = given_diagonal_[i], si = scale_[i];
            double scaled = si * d * si;
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e)
                scaled += si * static_cast<double>(weight_[e]) * scale_[column_[e]];
            s.row_sum += row_sum_[i];
            s.diagonal += d;
            s.scaled_row_sum += scaled;
            s.scaled_diagonal += si * d * si;
        }
    });
    Sums all;
    for (const Sums &s : part) {
        all.row_sum += s.row_sum;
        all.diagonal += s.diagonal;
        all.scaled_row_sum += s.scaled_row_sum;
        all.scaled_diagonal += s.scaled_diagonal;
    }
    return all.scaled_row_sum * all.diagonal < 0.5 * all.row_sum * all.scaled_diagonal;
}

template <class W>
void Preparation<W>::rewrite(Team &team) {
    own_weight_ = Array<W>(start_[n_]);
    if (order_.size() > 0)
        permute(team);
    else
        scale_in_place(team);
}

template <class W>
void Preparation<W>::scale_in_place(Team &team) {
    const std::vector<std::int32_t> block = row_blocks(n_);
    std::vector<double> norm(block.size() - 1);
    team.each(static_cast<std::int64_t>(norm.size()), [&](std::int64_t b) {
        for (std::int32_t i = block[b]; i < block[b + 1]; ++i) {
            const double si = scale_[i], d = si * given_diagonal_[i] * si;
            double row_sum = d, sum = d;
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e) {
                const double w = si * static_cast<double>(weight_[e]) * scale_[column_[e]];
                own_weight_[e] = static_cast<W>(w);
                row_sum += w;
                sum += std::abs(w);
            }
            diagonal_[i] = d;
            row_sum_[i] = row_sum;
            norm[b] = std::max(norm[b], sum);
        }
    });
    norm_bound_ = *std::max_element(norm.begin(), norm.end());
}

template <class W>
void Preparation<W>::permute(Team &team) {
    const bool scaled = scale_.size() > 0;
    std::vector<std::int32_t> place(static_cast<std::size_t>(n_));
    for (std::int32_t k = 0; k < n_; ++k) place[order_[k]] = k;
    own_start_ = Array<std::int64_t>(n_ + std::int64_t(1));
    own_column_ = Array<std::int32_t>(start_[n_]);
    own_start_[0] = 0;
    for (std::int32_t k = 0; k < n_; ++k)
        own_start_[k + std::int64_t(1)] = own_start_[k] + (start_[order_[k] + 1] - start_[order_[k]]);
    Array<double> scale = scaled ? Array<double>(n_) : Array<double>();
    const std::vector<std::int32_t> block = row_blocks(n_);
    std::vector<double> norm(block.size() - 1);
    team.each(static_cast<std::int64_t>(norm.size()), [&](std::int64_t b) {
        std::vector<std::pair<std::int32_t, W>> row;
        for (std::int32_t k = block[b]; k < block[b + 1]; ++k) {
            const std::int32_t i = order_[k];
            const double si = scaled ? scale_[i] : 1.0, d = si * given_diagonal_[i] * si;
            double row_sum = d, sum = d;
            row.clear();
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e) {
                const std::int32_t j = column_[e];
                const double w = si * static_cast<double>(weight_[e]) * (scaled ? scale_[j] : 1.0);
                row_sum += w;
                sum += std::abs(w);
                row.emplace_back(place[j], static_cast<W>(w));
            }
            std::sort(row.begin(), row.end(), [](const auto &a, const auto &c) { return a.first < c.first; });
            std::int64_t at = own_start_[k];
            for (const auto &[j, w] : row) {
                own_column_[at] = j;
                own_weight_[at++] = w;
            }
            diagonal_[k] = d;
            row_sum_[k] = row_sum;
            if (scaled) scale[k] = si;
            norm[b] = std::max(norm[b], sum);
        }
    });
    norm_bound_ = *std::max_element(norm.begin(), norm.end());
    scale_ = std::move(scale);
}

template class Preparation<float>;
template class Preparation<double>;

}  // namespace gabp
