// What a change of terms takes out of a Bayes tree, and the fronts that take its place.
#include "factors/bayes_tree.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace gabp {

void BayesTree::add_variables(const std::int64_t *dimension, std::int64_t count) {
    for (std::int64_t v = 0; v < count; ++v) {
        dimension_.push_back(static_cast<std::int32_t>(dimension[v]));
        offset_.push_back(offset_.back() + dimension[v]);
    }
    step_.resize(offset_.back(), 0.0);
    diagonal_.resize(offset_.back(), 0.0);
    front_of_.resize(variables(), -1);
    terms_of_.resize(variables());
    is_touched_.resize(variables(), 0);
    place_.resize(variables(), -1);
    begin_.resize(variables());
    changed_.resize(variables(), 0);
    for (std::int64_t v = variables() - count; v < variables(); ++v) touch(static_cast<std::int32_t>(v));
}

void BayesTree::touch(std::int32_t variable) {
    if (is_touched_[variable]) return;
    is_touched_[variable] = 1;
    touched_.push_back(variable);
}

void BayesTree::fill_term(Term &term, const TermArrays &arrays, std::int64_t t) const {
    const std::int64_t *variable = arrays.variable + t * arrays.arity;
    const double *product = arrays.product + t * arrays.columns * arrays.columns;
    const double *gradient = arrays.gradient + t * arrays.columns;
    std::vector<std::int64_t> column;
    term.variable.clear();
    std::int64_t first = 0;
    for (std::int64_t p = 0; p < arrays.arity; first += arrays.dimension[p++]) {
        if (variable[p] < 0) continue;
        term.variable.push_back(static_cast<std::int32_t>(variable[p]));
        for (std::int64_t i = 0; i < arrays.dimension[p]; ++i) column.push_back(first + i);
    }
    term.numbers.clear();
    term.numbers.reserve(column.size() * (column.size() + 1));
    for (const std::int64_t i : column)
        for (const std::int64_t j : column) term.numbers.push_back(product[i * arrays.columns + j]);
    for (const std::int64_t i : column) term.numbers.push_back(gradient[i]);
}

void BayesTree::add_terms(const TermArrays &arrays) {
    for (std::int64_t t = 0; t < arrays.count; ++t) {
        const auto number = static_cast<std::int32_t>(terms_.size());
        terms_.emplace_back();
        fill_term(terms_.back(), arrays, t);
        for (const std::int32_t v : terms_.back().variable) {
            touch(v);
            std::vector<std::int32_t> &known = terms_of_[v];
            if (known.empty() || known.back() != number) known.push_back(number);  // a term may name one twice
        }
    }
}

void BayesTree::replace_terms(const std::int64_t *term, const TermArrays &arrays) {
    for (std::int64_t t = 0; t < arrays.count; ++t) {
        fill_term(terms_[term[t]], arrays, t);
        for (const std::int32_t v : terms_[term[t]].variable) touch(v);
    }
}

void BayesTree::remove_terms(const std::int64_t *term, std::int64_t count) {
    for (std::int64_t t = 0; t < count; ++t) {
        Term gone;
        std::swap(gone, terms_[term[t]]);
        for (const std::int32_t v : gone.variable) {
            touch(v);
            std::vector<std::int32_t> &known = terms_of_[v];
            known.erase(std::remove(known.begin(), known.end(), static_cast<std::int32_t>(term[t])), known.end());
        }
    }
}

std::vector<std::int64_t> BayesTree::terms_on(const std::int64_t *variable, std::int64_t count) const {
    std::vector<std::int64_t> found;
    for (std::int64_t k = 0; k < count; ++k) {
        const std::vector<std::int32_t> &known = terms_of_[variable[k]];
        found.insert(found.end(), known.begin(), known.end());
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

std::int32_t BayesTree::eliminate() {
    eliminated_ = 0;
    if (touched_.empty()) return -1;
    for (const std::int32_t v : touched_) find_diagonal(v);
    const Neighbourhood near = detach();
    eliminated_ = static_cast<std::int64_t>(near.variable.size());
    const std::int32_t bad = make_fronts(near, analyse(near));
    for (const std::int32_t v : near.variable) place_[v] = -1;
    return bad;
}

// Takes out the fronts from the touched variables up to the roots; the subtrees below them stay, as orphans.
BayesTree::Neighbourhood BayesTree::detach() {
    Neighbourhood near;
    std::vector<std::int32_t> out;
    for (const std::int32_t v : touched_) {
        if (front_of_[v] < 0) near.variable.push_back(v);
        for (std::int32_t s = front_of_[v]; s >= 0 && place_[fronts_[s].variable[0]] < 0; s = fronts_[s].parent) {
            place_[fronts_[s].variable[0]] = 0;  // a front is known by its first variable
            out.push_back(s);
        }
    }
    for (const std::int32_t s : out) {
        const Front &front = fronts_[s];
        for (std::int32_t k = 0; k < front.own; ++k) {
            front_of_[front.variable[k]] = -1;
            near.variable.push_back(front.variable[k]);
        }
        for (const std::int32_t c : front.child) {
            if (place_[fronts_[c].variable[0]] < 0) orphans_.push_back(c);
        }
    }
    const auto is_out = [&](std::int32_t c) { return place_[fronts_[c].variable[0]] >= 0; };
    orphans_.erase(std::remove_if(orphans_.begin(), orphans_.end(), is_out), orphans_.end());
    for (const std::int32_t c : orphans_) fronts_[c].parent = -1;
    std::sort(near.variable.begin(), near.variable.end());
    for (std::size_t k = 0; k < near.variable.size(); ++k) place_[near.variable[k]] = static_cast<std::int32_t>(k);
    for (const std::int32_t s : out) release_front(s);
    find_terms(near);
    find_orphans(near);
    return near;
}

// The terms on nothing but the neighbourhood: the others are in the orphans' updates.
void BayesTree::find_terms(Neighbourhood &near) const {
    for (const std::int32_t v : near.variable) {
        for (const std::int32_t t : terms_of_[v]) {
            const std::vector<std::int32_t> &on = terms_[t].variable;
            if (std::all_of(on.begin(), on.end(), [&](std::int32_t w) { return place_[w] >= 0; })) {
                near.terms.number.push_back(t);
            }
        }
        near.terms.close();
    }
}

void BayesTree::find_orphans(Neighbourhood &near) const {
    Lists &lists = near.orphans;
    lists.start.assign(near.variable.size() + 1, 0);
    const auto for_rows = [&](auto visit) {
        for (const std::int32_t c : orphans_) {
            const Front &orphan = fronts_[c];
            for (std::size_t r = orphan.own; r < orphan.variable.size(); ++r) visit(place_[orphan.variable[r]], c);
        }
    };
    for_rows([&](std::int32_t k, std::int32_t) { ++lists.start[k + 1]; });
    for (std::size_t k = 0; k < near.variable.size(); ++k) lists.start[k + 1] += lists.start[k];
    lists.number.resize(lists.start.back());
    std::vector<std::int32_t> next(lists.start.begin(), lists.start.end() - 1);
    for_rows([&](std::int32_t k, std::int32_t c) { lists.number[next[k]++] = c; });
}

// Variables without a factor so far go last: the next change is near them.
Symbolic BayesTree::analyse(const Neighbourhood &near) const {
    const auto count = static_cast<std::int32_t>(near.variable.size());
    std::vector<std::int64_t> start{0};
    std::vector<std::int32_t> source, seen(count, -1);
    std::vector<char> last(count, 0);
    double unknowns = 0;
    for (std::int32_t k = 0; k < count; ++k) {
        seen[k] = k;
        const auto connect = [&](std::int32_t v) {
            const std::int32_t j = place_[v];
            if (seen[j] == k) return;
            seen[j] = k;
            source.push_back(j);
        };
        for (const std::int32_t *t = near.terms.begin(k); t != near.terms.end(k); ++t) {
            for (const std::int32_t v : terms_[*t].variable) connect(v);
        }
        for (const std::int32_t *c = near.orphans.begin(k); c != near.orphans.end(k); ++c) {
            const Front &orphan = fronts_[*c];
            for (std::size_t r = orphan.own; r < orphan.variable.size(); ++r) connect(orphan.variable[r]);
        }
        start.push_back(static_cast<std::int64_t>(source.size()));
        last[k] = changed_[near.variable[k]] == 0;
        unknowns += dimension_[near.variable[k]];
    }
    const Pattern pattern{start.data(), source.data(), count};
    constexpr double unlimited = std::numeric_limits<double>::infinity();
    const bool few = 2 * std::count(last.begin(), last.end(), 1) <= count;
    std::vector<std::int32_t> order = minimum_degree_order(pattern, unlimited, few ? &last : nullptr);
    return analyse_fronts(pattern, eliminate_symbolically(pattern, std::move(order)), unknowns / count);
}

std::int32_t BayesTree::make_fronts(const Neighbourhood &near, const Symbolic &symbolic) {
    std::vector<std::int32_t> made(symbolic.fronts());
    const auto earliest = [&](const std::int32_t *begin, const std::int32_t *end) {
        std::int32_t first = symbolic.nodes();
        for (; begin != end; ++begin) first = std::min(first, symbolic.inverse[place_[*begin]]);
        return first;
    };
    for (std::int32_t s = 0; s < symbolic.fronts(); ++s) {
        made[s] = take_front();
        Front &front = fronts_[made[s]];
        const auto append = [&](std::int32_t k) {
            const std::int32_t v = near.variable[symbolic.order[k]];
            front.variable.push_back(v);
            front.height += dimension_[v];
        };
        std::vector<std::int32_t> terms;
        for (std::int32_t k = symbolic.first[s]; k < symbolic.first[s + 1]; ++k) {
            append(k);
            front_of_[front.variable.back()] = made[s];
            const std::int32_t at = symbolic.order[k];
            for (const std::int32_t *t = near.terms.begin(at); t != near.terms.end(at); ++t) {
                const std::vector<std::int32_t> &on = terms_[*t].variable;
                if (earliest(on.data(), on.data() + on.size()) == k) terms.push_back(*t);
            }
            for (const std::int32_t *c = near.orphans.begin(at); c != near.orphans.end(at); ++c) {
                const std::vector<std::int32_t> &on = fronts_[*c].variable;
                if (earliest(on.data() + fronts_[*c].own, on.data() + on.size()) == k) front.child.push_back(*c);
            }
        }
        front.own = static_cast<std::int32_t>(front.variable.size());
        front.width = front.height;
        for (std::int64_t r = symbolic.row_start[s]; r < symbolic.row_start[s + 1]; ++r) append(symbolic.row[r]);
        for (std::int32_t k = symbolic.child_start[s]; k < symbolic.child_start[s + 1]; ++k) {
            front.child.push_back(made[symbolic.child[k]]);
        }
        const std::int32_t bad = factorise(front, terms);
        if (bad >= 0) {
            made.resize(s + 1);
            abandon(made, near);
            return bad;
        }
    }
    for (const std::int32_t s : made) {
        for (const std::int32_t c : fronts_[s].child) fronts_[c].parent = s;
    }
    fresh_.insert(fresh_.end(), made.begin(), made.end());
    for (const std::int32_t v : touched_) is_touched_[v] = 0;
    touched_.clear();
    orphans_.clear();
    return -1;
}

// Leaves the neighbourhood and its orphans to the next elimination.
void BayesTree::abandon(const std::vector<std::int32_t> &made, const Neighbourhood &near) {
    for (const std::int32_t s : made) release_front(s);
    for (const std::int32_t v : near.variable) {
        front_of_[v] = -1;
        touch(v);
    }
}

std::int32_t BayesTree::take_front() {
    if (free_fronts_.empty()) {
        fronts_.emplace_back();
        return static_cast<std::int32_t>(fronts_.size()) - 1;
    }
    const std::int32_t s = free_fronts_.back();
    free_fronts_.pop_back();
    return s;
}

void BayesTree::release_front(std::int32_t s) {
    if (fronts_[s].fresh) fresh_.erase(std::remove(fresh_.begin(), fresh_.end(), s), fresh_.end());
    fronts_[s] = Front();
    free_fronts_.push_back(s);
}

double BayesTree::entries() const {
    double total = 0;
    for (const Front &front : fronts_) {
        const auto width = static_cast<double>(front.width);
        total += width * static_cast<double>(front.height) - width * (width - 1) / 2;
    }
    return total;
}

}  // namespace gabp
