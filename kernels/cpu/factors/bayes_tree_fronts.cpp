// The numbers of one front of a Bayes tree: terms and updates gathered, the front's own unknowns eliminated.
#include "factor/dense.hpp"
#include "factors/bayes_tree.hpp"

#include <algorithm>

namespace gabp {
namespace {

using dense::Index;

constexpr double vanishing = 1e-14;  // of a pivot beside the diagonal of A: rounding alone makes up to 1e-15

}  // namespace

// The first variable whose pivot vanishes, or -1.
std::int32_t BayesTree::factorise(Front &front, const std::vector<std::int32_t> &terms) {
    const Index width = front.width, ld = front.height + 1, rows = ld - width;
    Index begin = 0;
    for (const std::int32_t v : front.variable) {
        begin_[v] = begin;
        begin += dimension_[v];
    }
    front.panel.reset(new double[ld * width]());
    front.update.reset(new double[rows * rows]());
    for (const std::int32_t t : terms) load_term(front, terms_[t]);
    for (const std::int32_t c : front.child) add_update(front, fronts_[c]);
    double *panel = front.panel.get();
    const Index bad = dense::cholesky(panel, ld, ld, width, 1);
    Index j = 0;
    for (std::int32_t k = 0; k < front.own; ++k) {
        for (std::int32_t i = 0; i < dimension_[front.variable[k]]; ++i, ++j) {
            const double root = panel[j * (ld + 1)];
            const double diagonal = diagonal_[offset_[front.variable[k]] + i];
            if (j == bad || !(root * root > vanishing * diagonal)) return front.variable[k];
        }
    }
    if (rows > 1) {
        const double *below = panel + width;
        dense::multiply({rows, rows, width, below, 1, ld, below, ld, 1, front.update.get(), rows, -1.0, true, 0}, 1);
    }
    return -1;
}

void BayesTree::load_term(Front &front, const Term &term) const {
    const Index width = front.width, ld = front.height + 1, rows = ld - width;
    Index size = 0, first = 0;
    for (const std::int32_t v : term.variable) size += dimension_[v];
    const double *gradient = term.numbers.data() + size * size;
    for (const std::int32_t v : term.variable) {
        for (std::int32_t j = 0; j < dimension_[v]; ++j, ++first) {
            const Index column = begin_[v] + j;
            double *to = column < width ? front.panel.get() + column * ld
                                        : front.update.get() + (column - width) * rows - width;
            const double *from = term.numbers.data() + first * size;
            for (const std::int32_t w : term.variable) {
                if (begin_[w] >= begin_[v]) {
                    for (std::int32_t i = begin_[w] == begin_[v] ? j : 0; i < dimension_[w]; ++i) {
                        to[begin_[w] + i] += from[i];
                    }
                }
                from += dimension_[w];
            }
            to[ld - 1] += gradient[first];
        }
    }
}

// The rows of a child that an earlier elimination made may be in another order than here.
void BayesTree::add_update(Front &front, const Front &child) {
    const Index width = front.width, ld = front.height + 1, rows = ld - width, size = child.rows() + 1;
    scalar_place_.clear();
    for (std::size_t r = child.own; r < child.variable.size(); ++r) {
        const std::int32_t v = child.variable[r];
        for (std::int32_t i = 0; i < dimension_[v]; ++i) scalar_place_.push_back(begin_[v] + i);
    }
    scalar_place_.push_back(ld - 1);
    const bool ascending = std::is_sorted(scalar_place_.begin(), scalar_place_.end());
    const Index *place = scalar_place_.data();
    const double *from = child.update.get();
    double *panel = front.panel.get(), *update = front.update.get();
    for (Index j = 0; j + 1 < size; ++j, from += size) {
        const Index column = place[j];
        double *to = column < width ? panel + column * ld : update + (column - width) * rows - width;
        if (ascending) {
            for (Index i = j; i < size; ++i) to[place[i]] += from[i];
            continue;
        }
        for (Index i = j; i < size; ++i) {
            const Index row = place[i];
            if (row >= column) {
                to[row] += from[i];
            } else {
                double *other = row < width ? panel + row * ld : update + (row - width) * rows - width;
                other[column] += from[i];
            }
        }
    }
}

// A's diagonal of one variable, from its terms.
void BayesTree::find_diagonal(std::int32_t variable) {
    const std::int32_t dimension = dimension_[variable];
    double *sum = diagonal_.data() + offset_[variable];
    std::fill_n(sum, dimension, 0.0);
    for (const std::int32_t t : terms_of_[variable]) {
        const Term &term = terms_[t];
        Index size = 0, first = 0;
        for (const std::int32_t v : term.variable) size += dimension_[v];
        for (const std::int32_t v : term.variable) {
            for (std::int32_t i = 0; v == variable && i < dimension; ++i) {
                sum[i] += term.numbers[(first + i) * (size + 1)];
            }
            first += dimension_[v];
        }
    }
}

}  // namespace gabp
