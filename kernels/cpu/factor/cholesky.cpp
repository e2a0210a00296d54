// Multifrontal sparse Cholesky factorisation (Duff and Reid 1983; Liu 1992).
#include "factor/dense.hpp"
#include "factor/factor.hpp"
#include "common/pool.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>

namespace gabp {
namespace {

using dense::Index;

constexpr std::int32_t none = -1;

struct Scratch {
    explicit Scratch(std::int32_t n) : place(new std::int32_t[n]) {}  // never read before written
    std::unique_ptr<std::int32_t[]> place;  // of a column of the matrix in the front at hand
    std::vector<std::int32_t> child_place;  // of the rows of one child
};

class Factorisation {
public:
    Factorisation(const Symbolic &symbolic, const Pattern &pattern, const Values &values, double *panels)
        : symbolic_(symbolic), pattern_(pattern), values_(values), panels_(panels), update_(symbolic.fronts()) {}

    // The first bad column, or -1.
    std::int32_t run(int threads) {
        const auto subtrees = static_cast<std::int32_t>(symbolic_.subtree_root.size());
        std::vector<std::int32_t> bad(subtrees, none);
        std::atomic<bool> out_of_memory{false};
        for_chunks(threads, subtrees, [&](std::int64_t t) {
            try {
                Scratch scratch(symbolic_.nodes());
                for (std::int32_t s = symbolic_.subtree_first[t]; s <= symbolic_.subtree_root[t] && bad[t] < 0; ++s) {
                    bad[t] = eliminate(s, scratch, 1);
                }
            } catch (const std::bad_alloc &) {
                out_of_memory = true;
            }
        });
        if (out_of_memory) throw std::bad_alloc();
        std::int32_t first_bad = none;
        for (const std::int32_t column : bad) {
            if (column >= 0 && (first_bad < 0 || column < first_bad)) first_bad = column;
        }
        if (first_bad >= 0) return first_bad;
        Scratch scratch(symbolic_.nodes());
        for (const std::int32_t s : symbolic_.top) {
            const std::int32_t column = eliminate(s, scratch, threads);
            if (column >= 0) return column;
        }
        return -1;
    }

private:
    // One front: gather A's columns and the children's updates, eliminate, leave the update for the parent.
    std::int32_t eliminate(std::int32_t s, Scratch &scratch, int threads) {
        std::int32_t *place = scratch.place.get();
        const Index columns = symbolic_.columns(s), rows = symbolic_.rows(s), height = columns + rows;
        double *panel = panels_ + symbolic_.panel_start[s];
        std::fill_n(panel, height * columns, 0.0);
        Block update(rows == 0 ? nullptr : new double[rows * rows]);
        std::fill_n(update.get(), rows * rows, 0.0);
        const std::int32_t first = symbolic_.first[s];
        for (Index j = 0; j < columns; ++j) place[first + j] = static_cast<std::int32_t>(j);
        const std::int32_t *row = symbolic_.row.data() + symbolic_.row_start[s];
        for (Index r = 0; r < rows; ++r) place[row[r]] = static_cast<std::int32_t>(columns + r);
        load_columns(s, place, panel);
        for (std::int32_t k = symbolic_.child_start[s]; k < symbolic_.child_start[s + 1]; ++k) {
            add_update(symbolic_.child[k], scratch, panel, height, columns, update.get(), rows);
        }
        const Index bad = dense::cholesky(panel, height, height, columns, threads);
        if (bad >= 0) return first + static_cast<std::int32_t>(bad);
        const double *below = panel + columns;
        dense::multiply({rows, rows, columns, below, 1, height, below, height, 1, update.get(), rows, -1.0, true, 0},
                        threads);
        update_[s] = std::move(update);
        return -1;
    }

    void load_columns(std::int32_t s, const std::int32_t *place, double *panel) const {
        const Index height = symbolic_.height(s);
        for (std::int32_t j = symbolic_.first[s]; j < symbolic_.first[s + 1]; ++j, panel += height) {
            const std::int32_t node = symbolic_.order[j];
            panel[place[j]] = values_.diagonal[node];
            for (std::int64_t e = pattern_.start[node]; e < pattern_.start[node + 1]; ++e) {
                const std::int32_t i = symbolic_.inverse[pattern_.source[e]];
                if (i > j) panel[place[i]] = values_.weight[e];
            }
        }
    }

    void add_update(std::int32_t child, Scratch &scratch, double *panel, Index height, Index columns,
                    double *update, Index rows) {
        const Index size = symbolic_.rows(child);
        const std::int32_t *row = symbolic_.row.data() + symbolic_.row_start[child];
        const double *from = update_[child].get();
        std::vector<std::int32_t> &place = scratch.child_place;
        place.resize(size);
        for (Index i = 0; i < size; ++i) place[i] = scratch.place[row[i]];
        for (Index j = 0; j < size; ++j, from += size) {
            const Index column = place[j];
            // rows are ascending in child and parent alike, so the lower triangle stays the lower triangle
            double *to = column < columns ? panel + column * height : update + (column - columns) * rows - columns;
            for (Index i = j; i < size; ++i) to[place[i]] += from[i];
        }
        update_[child].reset();
    }

    const Symbolic &symbolic_;
    const Pattern &pattern_;
    const Values &values_;
    double *panels_;
    std::vector<Block> update_;
};

}  // namespace

Factor::Factor(std::shared_ptr<const Symbolic> symbolic, const Pattern &pattern, const Values &values, int threads)
    : symbolic_(std::move(symbolic)), panels_(symbolic_->panel_start.back()) {
    const std::int32_t bad = Factorisation(*symbolic_, pattern, values, panels_.data()).run(threads);
    bad_node_ = bad < 0 ? bad : symbolic_->order[bad];
}

double Factor::log_determinant() const {
    double sum = 0;
    for (std::int32_t s = 0; s < symbolic_->fronts(); ++s) {
        const Index height = symbolic_->height(s);
        for (Index j = 0; j < symbolic_->columns(s); ++j) sum += std::log(panel(s)[j + j * height]);
    }
    return 2 * sum;
}

}  // namespace gabp
