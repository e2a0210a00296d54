#include "preparation.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gabp {
namespace {

constexpr double many_across = 0.25;    // couplings across blocks above this share call for another order, ...
constexpr double most_across = 0.5;     // ... and above this one leave a sweep within blocks little to see
constexpr std::size_t ball_rows = 1000;  // a neighbourhood of this size ...
constexpr double ball_inner = 0.4;      // ... keeps at least this share of its couplings inside on a mesh
constexpr int balls = 5;
constexpr double narrow = 16.0;        // no scaling where the diagonal's spread is below this, ...
constexpr double wide = 1e24;          // ... always where float32 could overflow
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
Preparation<W>::Preparation(std::int32_t n, const std::int64_t *start, const std::int32_t *column, const W *weight,
                            const W *diagonal, const Array<std::int32_t> *order, Team &team)
    : n_(n), start_(start), column_(column), weight_(weight), given_diagonal_(diagonal), diagonal_(n), slack_(n) {
    if (order == nullptr) {
        choose_order(team);
    } else if (order->size() > 0) {
        order_ = Array<std::int32_t>(n_);
        std::copy(order->data(), order->data() + n_, order_.data());
    }
    if (!scattered_) choose_scale(team);
    if (order_.size() > 0 || scale_.size() > 0) {
        rewrite(team);
        return;
    }
    const std::vector<std::int32_t> block = row_blocks(n_);
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i) {
            double sum = given_diagonal_[i];
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e) sum += static_cast<double>(weight_[e]);
            diagonal_[i] = given_diagonal_[i];
            slack_[i] = sum;
        }
    });
}

template <class W>
RowsView<W> Preparation<W>::rows() const {
    const bool own = own_start_.data() != nullptr;
    return {n_, own ? own_start_.data() : start_, own ? own_column_.data() : column_,
            own ? own_weight_.data() : weight_, diagonal_.data(), slack_.data()};
}

template <class W>
void Preparation<W>::choose_order(Team &team) {
    const std::vector<std::int32_t> block = row_blocks(n_);
    std::vector<double> cross(block.size()), total(block.size());
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        const std::int32_t begin = block[k], end = block[k + 1];
        double outside = 0.0, all = 0.0;
        for (std::int32_t i = begin; i < end; ++i) {
            const std::int64_t first = start_[i], last = start_[i + 1];
            double sum = 0.0;
            for (std::int64_t e = first; e < last; ++e) sum += std::abs(static_cast<double>(weight_[e]));
            all += sum;
            if (first == last || (column_[first] >= begin && column_[last - 1] < end)) continue;
            for (std::int64_t e = first; e < last; ++e)
                if (column_[e] < begin || column_[e] >= end) outside += std::abs(static_cast<double>(weight_[e]));
        }
        total[k] = all;
        cross[k] = outside;
    });
    double all = 0.0, across = 0.0;
    for (std::size_t k = 0; k < block.size(); ++k) all += total[k], across += cross[k];
    if (across <= many_across * all) return;

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
    is_mesh_ = inside >= ball_inner * touched;
    if (!is_mesh_) {
        scattered_ = across > most_across * all;
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

// Tying the variables of a cluster together supposes that neighbours move alike. Where they move alike only
// in the units of their own diagonals, as a badly scaled system's do, the units are changed.
template <class W>
void Preparation<W>::choose_scale(Team &team) {
    const std::vector<std::int32_t> block = row_blocks(n_);
    struct Sums {
        double smallest = INFINITY, largest = 0.0, slack = 0.0, diagonal = 0.0, scaled_slack = 0.0, scaled = 0.0;
    };
    std::vector<Sums> part(block.size());
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        Sums &s = part[k];
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i) {
            const double d = given_diagonal_[i];
            s.smallest = std::min(s.smallest, d);
            s.largest = std::max(s.largest, d);
        }
    });
    Sums all;
    for (const Sums &s : part) {
        all.smallest = std::min(all.smallest, s.smallest);
        all.largest = std::max(all.largest, s.largest);
    }
    const bool outside = all.largest > float_limit || all.smallest < 1.0 / float_limit;
    if (all.largest <= narrow * all.smallest && !outside) return;
    scale_ = Array<double>(n_);
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i) scale_[i] = scale_for(given_diagonal_[i]);
    });
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        Sums &s = part[k];
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i) {
            const double d = given_diagonal_[i], si = scale_[i];
            double slack = d, scaled = si * d * si;
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e) {
                const double w = weight_[e];
                slack += w;
                scaled += si * w * scale_[column_[e]];
            }
            s.slack += slack;
            s.diagonal += d;
            s.scaled_slack += scaled;
            s.scaled += si * d * si;
        }
    });
    for (const Sums &s : part) {
        all.slack += s.slack;
        all.diagonal += s.diagonal;
        all.scaled_slack += s.scaled_slack;
        all.scaled += s.scaled;
    }
    // The energy of moving all alike, per unit of diagonal, in either units.
    if (all.largest > wide * all.smallest || all.scaled_slack * all.diagonal < 0.5 * all.slack * all.scaled) return;
    if (!outside) {
        scale_ = Array<double>();
        return;
    }
    const double common = scale_for(std::sqrt(all.largest) * std::sqrt(all.smallest));
    std::fill(scale_.data(), scale_.data() + n_, common);
}

template <class W>
void Preparation<W>::rewrite(Team &team) {
    const bool moved = order_.size() > 0, scaled = scale_.size() > 0;
    std::vector<std::int32_t> place(static_cast<std::size_t>(moved ? n_ : 0));
    for (std::int32_t k = 0; moved && k < n_; ++k) place[order_[k]] = k;
    own_start_ = Array<std::int64_t>(n_ + std::int64_t(1));
    own_column_ = Array<std::int32_t>(start_[n_]);
    own_weight_ = Array<W>(start_[n_]);
    own_start_[0] = 0;
    for (std::int32_t k = 0; k < n_; ++k) {
        const std::int32_t i = moved ? order_[k] : k;
        own_start_[k + std::int64_t(1)] = own_start_[k] + (start_[i + 1] - start_[i]);
    }
    Array<double> scale = scaled ? Array<double>(n_) : Array<double>();
    const std::vector<std::int32_t> block = row_blocks(n_);
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t b) {
        std::vector<std::pair<std::int32_t, W>> row;
        for (std::int32_t k = block[b]; k < block[b + 1]; ++k) {
            const std::int32_t i = moved ? order_[k] : k;
            const double si = scaled ? scale_[i] : 1.0;
            double slack = si * given_diagonal_[i] * si;
            diagonal_[k] = slack;
            row.clear();
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e) {
                const std::int32_t j = column_[e];
                const double w = si * static_cast<double>(weight_[e]) * (scaled ? scale_[j] : 1.0);
                slack += w;
                row.emplace_back(moved ? place[j] : j, static_cast<W>(w));
            }
            if (moved) std::sort(row.begin(), row.end(), [](const auto &a, const auto &c) { return a.first < c.first; });
            std::int64_t at = own_start_[k];
            for (const auto &[j, w] : row) {
                own_column_[at] = j;
                own_weight_[at++] = w;
            }
            slack_[k] = slack;
            if (scaled) scale[k] = si;
        }
    });
    scale_ = std::move(scale);
}

template class Preparation<float>;
template class Preparation<double>;

}  // namespace gabp
