#include "hierarchy/preparation.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gabp {
namespace {

constexpr double many_across = 0.25;    // couplings across blocks above this share call for another order, ...
constexpr double most_across = 0.5;     // ... and above this one leave a sweep within blocks little to see
constexpr std::int32_t stretch_rows = 1024;  // that are near each other where few couplings lie across blocks
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
    const Survey survey = look_through(team);
    norm_bound_ = survey.norm;
    grounding_ = survey.grounding;
    if (order == nullptr) {
        choose_order(survey);
    } else if (order->size() > 0) {
        order_ = Array<std::int32_t>(n_);
        std::copy(order->data(), order->data() + n_, order_.data());
    }
    if (!scattered_) choose_scale(survey, team);
    if (order_.size() > 0 || scale_.size() > 0) rewrite(team);
}

template <class W>
RowsView<W> Preparation<W>::rows() const {
    return {n_,
            own_start_.data() != nullptr ? own_start_.data() : start_,
            own_column_.data() != nullptr ? own_column_.data() : column_,
            own_weight_.data() != nullptr ? own_weight_.data() : weight_,
            diagonal_.data(),
            slack_.data()};
}

template <class W>
typename Preparation<W>::Survey Preparation<W>::look_through(Team &team) {
    const std::vector<std::int32_t> block = row_blocks(n_);
    std::vector<Survey> part(block.size() - 1);
    team.each(static_cast<std::int64_t>(part.size()), [&](std::int64_t k) {
        const std::int32_t begin = block[k], end = block[k + 1];
        const std::int32_t stretches = std::max((end - begin) / stretch_rows, 1);
        Survey s;
        std::int32_t stretch = 0, stop = begin;
        double held = 0.0;
        for (std::int32_t i = begin; i < end; ++i) {
            if (i == stop) {
                stop = begin + static_cast<std::int32_t>(std::int64_t(end - begin) * ++stretch / stretches);
                held = 0.0;
            }
            const std::int64_t first = start_[i], last = start_[i + 1];
            const double d = given_diagonal_[i];
            double sum = 0.0, slack = d;
            for (std::int64_t e = first; e < last; ++e) {
                const double w = weight_[e];
                sum += std::abs(w);
                slack += w;
            }
            diagonal_[i] = d;
            slack_[i] = slack;
            s.smallest = std::min(s.smallest, d);
            s.largest = std::max(s.largest, d);
            s.norm = std::max(s.norm, d + sum);
            s.couplings += sum;
            if (sum < d) held += 1.0 - sum / d;
            if (i + 1 == stop) s.grounding = std::min(s.grounding, held * stretches / (end - begin));
            if (first == last || (column_[first] >= begin && column_[last - 1] < end)) continue;
            for (std::int64_t e = first; e < last; ++e)
                if (column_[e] < begin || column_[e] >= end) s.across += std::abs(static_cast<double>(weight_[e]));
        }
        part[k] = s;
    });
    Survey all;
    for (const Survey &s : part) {
        all.smallest = std::min(all.smallest, s.smallest);
        all.largest = std::max(all.largest, s.largest);
        all.norm = std::max(all.norm, s.norm);
        all.couplings += s.couplings;
        all.across += s.across;
        all.grounding = std::min(all.grounding, s.grounding);
    }
    return all;
}

template <class W>
void Preparation<W>::choose_order(const Survey &survey) {
    if (survey.across <= many_across * survey.couplings) return;

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
        scattered_ = survey.across > most_across * survey.couplings;
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
void Preparation<W>::choose_scale(const Survey &survey, Team &team) {
    const bool outside = survey.largest > float_limit || survey.smallest < 1.0 / float_limit;
    if (survey.largest <= narrow * survey.smallest && !outside) return;
    const std::vector<std::int32_t> block = row_blocks(n_);
    struct Sums {
        double slack = 0.0, diagonal = 0.0, scaled_slack = 0.0, scaled = 0.0;
    };
    std::vector<Sums> part(block.size());
    scale_ = Array<double>(n_);
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i) scale_[i] = scale_for(given_diagonal_[i]);
    });
    team.each(static_cast<std::int64_t>(block.size()) - 1, [&](std::int64_t k) {
        Sums &s = part[k];
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i) {
            const double d = given_diagonal_[i], si = scale_[i];
            double scaled = si * d * si;
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e)
                scaled += si * static_cast<double>(weight_[e]) * scale_[column_[e]];
            s.slack += slack_[i];
            s.diagonal += d;
            s.scaled_slack += scaled;
            s.scaled += si * d * si;
        }
    });
    Sums all;
    for (const Sums &s : part) {
        all.slack += s.slack;
        all.diagonal += s.diagonal;
        all.scaled_slack += s.scaled_slack;
        all.scaled += s.scaled;
    }
    // The energy of moving all alike, per unit of diagonal, in either units.
    if (survey.largest > wide * survey.smallest || all.scaled_slack * all.diagonal < 0.5 * all.slack * all.scaled) return;
    if (!outside) {
        scale_ = Array<double>();
        return;
    }
    const double common = scale_for(std::sqrt(survey.largest) * std::sqrt(survey.smallest));
    std::fill(scale_.data(), scale_.data() + n_, common);
}

template <class W>
void Preparation<W>::rewrite(Team &team) {
    own_weight_ = Array<W>(start_[n_]);
    if (order_.size() > 0)
        move(team);
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
            double slack = d, sum = d;
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e) {
                const double w = si * static_cast<double>(weight_[e]) * scale_[column_[e]];
                own_weight_[e] = static_cast<W>(w);
                slack += w;
                sum += std::abs(w);
            }
            diagonal_[i] = d;
            slack_[i] = slack;
            norm[b] = std::max(norm[b], sum);
        }
    });
    norm_bound_ = *std::max_element(norm.begin(), norm.end());
}

template <class W>
void Preparation<W>::move(Team &team) {
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
            double slack = d, sum = d;
            row.clear();
            for (std::int64_t e = start_[i]; e < start_[i + 1]; ++e) {
                const std::int32_t j = column_[e];
                const double w = si * static_cast<double>(weight_[e]) * (scaled ? scale_[j] : 1.0);
                slack += w;
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
            slack_[k] = slack;
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
