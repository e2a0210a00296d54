// A Bayes tree: the Cholesky factor of A = Σ terms in fronts of variables, of which a change of a few terms re-eliminates
// only the fronts between them and the root (M. Kaess, H. Johannsson, R. Roberts, V. Ila, J. Leonard and F. Dellaert,
// iSAM2: Incremental smoothing and mapping using the Bayes tree, IJRR 2012).
#pragma once

#include "factor/symbolic.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace gabp {

// Quadratic terms ½ δᵀHδ + gᵀδ on `arity` variables each, of `columns` unknowns in all.
struct TermArrays {
    std::int64_t count, arity, columns;
    const std::int64_t *dimension;  // (arity)
    const std::int64_t *variable;   // (count, arity), -1 for one that keeps its value
    const double *product;          // H (count, columns, columns), symmetric
    const double *gradient;         // g (count, columns)
};

class BayesTree {
public:
    BayesTree() = default;
    BayesTree(const BayesTree &) = delete;
    BayesTree &operator=(const BayesTree &) = delete;

    void add_variables(const std::int64_t *dimension, std::int64_t count);
    std::int64_t variables() const { return static_cast<std::int64_t>(dimension_.size()); }
    std::int64_t terms() const { return static_cast<std::int64_t>(terms_.size()); }
    std::int64_t unknowns() const { return offset_.back(); }

    // New terms are numbered in the order in which they come, all the others keep their numbers.
    void add_terms(const TermArrays &arrays);
    void replace_terms(const std::int64_t *term, const TermArrays &arrays);
    void remove_terms(const std::int64_t *term, std::int64_t count);

    // The terms that name any of the variables, ascending.
    std::vector<std::int64_t> terms_on(const std::int64_t *variable, std::int64_t count) const;

    // Brings the factor up to date. Returns a variable whose pivot vanishes beside the diagonal of A, or -1; its
    // neighbourhood then stays without a factor until later terms determine it.
    std::int32_t eliminate();
    bool complete() const { return touched_.empty(); }
    std::int64_t eliminated() const { return eliminated_; }  // variables, by the last call
    double entries() const;

    // A δ = -g, down from the fronts that were eliminated; a variable whose step changes by no more than `threshold`
    // keeps it, and what is below does not see the change.
    void substitute(double threshold);
    const double *step(std::int64_t variable) const { return step_.data() + offset_[variable]; }
    std::int32_t dimension(std::int64_t variable) const { return dimension_[variable]; }
    void reset_step(std::int64_t variable);
    std::vector<std::int64_t> moved_beyond(double limit) const;

    // A's diagonal at the last elimination, and x := A⁻¹ x, the unknowns of the variables in the order in which they were added.
    const std::vector<double> &diagonal() const { return diagonal_; }
    void solve(double *x) const;

private:
    struct Term {
        std::vector<std::int32_t> variable;
        std::vector<double> numbers;  // H, then g
    };
    struct Front {
        std::vector<std::int32_t> variable;  // the eliminated ones, then those that they leave coupled
        std::int32_t own = 0;                // of the first kind
        std::int64_t width = 0, height = 0;  // their unknowns, and all
        std::int32_t parent = -1;
        std::vector<std::int32_t> child;
        // In columns, the lower triangle, with the gradient as the last row: L, and what is left for the parent.
        std::unique_ptr<double[]> panel, update;
        bool fresh = true;  // not yet substituted

        std::int64_t rows() const { return height - width; }
    };
    // Lists of numbers, one after another.
    struct Lists {
        std::vector<std::int32_t> start{0}, number;

        void close() { start.push_back(static_cast<std::int32_t>(number.size())); }
        const std::int32_t *begin(std::int32_t k) const { return number.data() + start[k]; }
        const std::int32_t *end(std::int32_t k) const { return number.data() + start[k + 1]; }
    };
    // What is to be eliminated: variables by their places in a list, and of each of them the terms and the orphans.
    struct Neighbourhood {
        std::vector<std::int32_t> variable;
        Lists terms, orphans;
    };

    void touch(std::int32_t variable);
    void fill_term(Term &term, const TermArrays &arrays, std::int64_t t) const;
    Neighbourhood detach();
    void find_terms(Neighbourhood &near) const;
    void find_orphans(Neighbourhood &near) const;
    Symbolic analyse(const Neighbourhood &near) const;
    std::int32_t make_fronts(const Neighbourhood &near, const Symbolic &symbolic);
    std::int32_t take_front();
    void release_front(std::int32_t s);
    void abandon(const std::vector<std::int32_t> &made, const Neighbourhood &near);

    std::int32_t factorise(Front &front, const std::vector<std::int32_t> &terms);
    void load_term(Front &front, const Term &term) const;
    void add_update(Front &front, const Front &child);
    void find_diagonal(std::int32_t variable);

    void substitute_front(Front &front, double threshold);
    bool sees_change(const Front &front) const;
    std::vector<std::int32_t> children_first() const;

    std::vector<std::int32_t> dimension_;
    std::vector<std::int64_t> offset_{0};
    std::vector<double> step_, diagonal_;  // of A
    std::vector<std::int32_t> front_of_;               // -1: not eliminated
    std::vector<std::vector<std::int32_t>> terms_of_;  // of each variable
    std::vector<Term> terms_;
    std::vector<Front> fronts_;
    std::vector<std::int32_t> free_fronts_, fresh_, orphans_;
    std::vector<std::int32_t> touched_;
    std::vector<char> is_touched_;
    std::int64_t eliminated_ = 0;

    std::vector<std::int32_t> place_;  // in the list of a neighbourhood, -1 elsewhere
    std::vector<std::int64_t> begin_;  // the first unknown of a variable in the front at hand
    std::vector<std::int64_t> scalar_place_;
    std::vector<double> gathered_;
    std::vector<std::int64_t> changed_;  // the pass of substitution that changed a step last
    std::int64_t pass_ = 0;
};

}  // namespace gabp
