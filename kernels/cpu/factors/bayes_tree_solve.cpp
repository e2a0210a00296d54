// Substitution in a Bayes tree: for its own gradient as far down as steps change, and for any right-hand side.
#include "factors/bayes_tree.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

// Four sums at a time: one would wait for each addition.
double dot(const double *a, const double *b, std::int64_t n) {
    double sum[4] = {};
    std::int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (int k = 0; k < 4; ++k) sum[k] += a[i + k] * b[i + k];
    }
    for (; i < n; ++i) sum[0] += a[i] * b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

}  // namespace

void BayesTree::substitute(double threshold) {
    ++pass_;
    std::vector<std::int32_t> below;
    for (auto s = fresh_.rbegin(); s != fresh_.rend(); ++s) {
        substitute_front(fronts_[*s], threshold);
        const auto descend = [&](const Front &front) {
            for (const std::int32_t c : front.child) {
                if (!fronts_[c].fresh && sees_change(fronts_[c])) below.push_back(c);
            }
        };
        descend(fronts_[*s]);
        while (!below.empty()) {
            Front &front = fronts_[below.back()];
            below.pop_back();
            substitute_front(front, threshold);
            descend(front);
        }
    }
    for (const std::int32_t s : fresh_) fronts_[s].fresh = false;
    fresh_.clear();
}

bool BayesTree::sees_change(const Front &front) const {
    return std::any_of(front.variable.begin() + front.own, front.variable.end(),
                       [&](std::int32_t v) { return changed_[v] == pass_; });
}

// Lᵀ δ = -y, with y in the panel's last row.
void BayesTree::substitute_front(Front &front, double threshold) {
    const std::int64_t ld = front.height + 1;
    gathered_.resize(front.height);
    double *x = gathered_.data() + front.width;
    for (std::size_t r = front.own; r < front.variable.size(); ++r) {
        const std::int32_t v = front.variable[r];
        x = std::copy_n(step(v), dimension_[v], x);
    }
    x = gathered_.data();
    for (std::int64_t j = front.width - 1; j >= 0; --j) {
        const double *column = front.panel.get() + j * ld;
        x[j] = -(column[ld - 1] + dot(column + j + 1, x + j + 1, front.height - j - 1)) / column[j];
    }
    for (std::int32_t k = 0; k < front.own; ++k) {
        const std::int32_t v = front.variable[k];
        double *known = step_.data() + offset_[v], change = 0;
        for (std::int32_t i = 0; i < dimension_[v]; ++i) change = std::max(change, std::abs(x[i] - known[i]));
        if (change > threshold || changed_[v] == 0) {
            std::copy_n(x, dimension_[v], known);
            changed_[v] = pass_;
        }
        x += dimension_[v];
    }
}

void BayesTree::reset_step(std::int64_t variable) {
    std::fill_n(step_.begin() + offset_[variable], dimension_[variable], 0.0);
}

std::vector<std::int64_t> BayesTree::moved_beyond(double limit) const {
    std::vector<std::int64_t> moved;
    for (std::int64_t v = 0; v < variables(); ++v) {
        const double *begin = step(v), *end = begin + dimension_[v];
        if (std::any_of(begin, end, [&](double d) { return std::abs(d) > limit; })) moved.push_back(v);
    }
    return moved;
}

void BayesTree::solve(double *x) const {
    const std::vector<std::int32_t> order = children_first();
    std::vector<double> gathered;
    for (const std::int32_t s : order) {
        const Front &front = fronts_[s];
        const std::int64_t ld = front.height + 1;
        gathered.assign(front.height, 0.0);
        double *at = gathered.data();
        for (std::int32_t k = 0; k < front.own; ++k) {
            at = std::copy_n(x + offset_[front.variable[k]], dimension_[front.variable[k]], at);
        }
        at = gathered.data();
        for (std::int64_t j = 0; j < front.width; ++j) {
            const double *column = front.panel.get() + j * ld;
            at[j] /= column[j];
            for (std::int64_t i = j + 1; i < front.height; ++i) at[i] -= column[i] * at[j];
        }
        for (std::size_t k = 0; k < front.variable.size(); ++k) {
            const std::int32_t v = front.variable[k];
            const bool own = static_cast<std::int32_t>(k) < front.own;
            for (std::int32_t i = 0; i < dimension_[v]; ++i, ++at) {
                double &to = x[offset_[v] + i];
                to = own ? *at : to + *at;
            }
        }
    }
    for (auto s = order.rbegin(); s != order.rend(); ++s) {
        const Front &front = fronts_[*s];
        const std::int64_t ld = front.height + 1;
        gathered.resize(front.height);
        double *at = gathered.data();
        for (const std::int32_t v : front.variable) at = std::copy_n(x + offset_[v], dimension_[v], at);
        at = gathered.data();
        for (std::int64_t j = front.width - 1; j >= 0; --j) {
            const double *column = front.panel.get() + j * ld;
            at[j] = (at[j] - dot(column + j + 1, at + j + 1, front.height - j - 1)) / column[j];
        }
        for (std::int32_t k = 0; k < front.own; ++k) {
            const std::int32_t v = front.variable[k];
            std::copy_n(at, dimension_[v], x + offset_[v]);
            at += dimension_[v];
        }
    }
}

std::vector<std::int32_t> BayesTree::children_first() const {
    std::vector<std::int32_t> order;
    for (std::size_t s = 0; s < fronts_.size(); ++s) {
        if (!fronts_[s].variable.empty() && fronts_[s].parent < 0) order.push_back(static_cast<std::int32_t>(s));
    }
    for (std::size_t k = 0; k < order.size(); ++k) {
        const std::vector<std::int32_t> &child = fronts_[order[k]].child;
        order.insert(order.end(), child.begin(), child.end());
    }
    std::reverse(order.begin(), order.end());
    return order;
}

}  // namespace gabp
