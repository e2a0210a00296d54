// What Python sees of the hierarchy: set-up, the preconditioner, and conjugate gradients at work.
#include "conjugate_gradients.hpp"
#include "elimination_sweep.hpp"
#include "tensors.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>

namespace gabp {
namespace {

template <class W>
struct Input {
    RowsView<W> rows;
    Array<double> diagonal, slack;

    Input(const Offsets &start, const Nodes &source, const Vector<const W> &weight, const Vector<const W> &diag)
        : diagonal(static_cast<std::int64_t>(diag.shape(0))), slack(static_cast<std::int64_t>(diag.shape(0))) {
        const auto n = static_cast<std::int64_t>(diag.shape(0));
        require(n > 0 && n < std::int64_t(1) << 31, "the number of rows must fit 32 bits");
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
        require(source.shape(0) == weight.shape(0), "source and weight must have the same length");
        rows = {static_cast<std::int32_t>(n), start.data(), source.data(), weight.data(), diagonal.data(), slack.data()};
        for (std::int64_t i = 0; i < n; ++i) {
            double sum = diag.data()[i];
            for (std::int64_t e = start.data()[i]; e < start.data()[i + 1]; ++e) sum += weight.data()[e];
            diagonal[i] = diag.data()[i];
            slack[i] = sum;
        }
    }
};

template <class W>
void construct(Hierarchy *self, Offsets start, Nodes source, Vector<const W> weight, Vector<const W> diagonal, int threads) {
    nb::gil_scoped_release release;
    const Input<W> input(start, source, weight, diagonal);
    new (self) Hierarchy(input.rows, threads);
}

// Conjugate gradients on any number of columns, in groups of up to eight that share every sweep.
class Correction {
public:
    Correction(const Hierarchy &hierarchy, Columns<const double> residual, int threads)
        : n_(hierarchy.n()), columns_(static_cast<std::int64_t>(residual.shape(1))),
          team_(hierarchy.n() < 10000 ? 1 : threads) {
        require(static_cast<std::int32_t>(residual.shape(0)) == n_, "the residual must have n rows");
        nb::gil_scoped_release release;
        for (std::int64_t c = 0; c < columns_; c += 8)
            group_.push_back(std::make_unique<ConjugateGradients>(hierarchy, residual.data() + c, columns_,
                                                                  static_cast<int>(std::min<std::int64_t>(8, columns_ - c)),
                                                                  Cycle::k, team_));
    }

    // Up to `steps` steps, until every column's norm is within its target: (done, failure, column).
    nb::tuple advance(std::int64_t steps, Vector<const double> target) {
        require(static_cast<std::int64_t>(target.shape(0)) == columns_, "target must have one entry per column");
        std::int64_t done = 0;
        Failure failure = Failure::none;
        std::int64_t column = -1;
        {
            nb::gil_scoped_release release;
            for (; done < steps && failure == Failure::none; ++done) {
                bool all = true;
                for (std::size_t g = 0; g < group_.size(); ++g) {
                    if (reached(g, target.data())) continue;
                    all = false;
                    const Failure f = group_[g]->step();
                    if (f != Failure::none) {
                        failure = f;
                        column = static_cast<std::int64_t>(g) * 8 + group_[g]->failed_column();
                        failed_ = g;
                    }
                }
                if (all) break;
            }
        }
        return nb::make_tuple(done, static_cast<int>(failure), column);
    }

    void estimate(Columns<double> out) {
        require(static_cast<std::int32_t>(out.shape(0)) == n_ && static_cast<std::int64_t>(out.shape(1)) == columns_,
                "out must be (n, columns)");
        nb::gil_scoped_release release;
        for (std::size_t g = 0; g < group_.size(); ++g) group_[g]->write_solution(out.data() + 8 * g, columns_);
    }

    std::vector<double> norms() const {
        std::vector<double> all;
        for (const auto &g : group_) all.insert(all.end(), g->norms().begin(), g->norms().begin() + g->columns());
        return all;
    }

    void witness(Vector<double> out) const {
        const ConjugateGradients &g = *group_[failed_];
        for (std::int64_t i = 0; i < n_; ++i) out.data()[i] = g.direction()[i * g.width() + g.failed_column()];
    }

private:
    bool reached(std::size_t g, const double *target) const {
        for (int c = 0; c < group_[g]->columns(); ++c)
            if (!(group_[g]->norms()[static_cast<std::size_t>(c)] <= target[8 * g + static_cast<std::size_t>(c)])) return false;
        return true;
    }

    std::int32_t n_;
    std::int64_t columns_;
    Team team_;
    std::vector<std::unique_ptr<ConjugateGradients>> group_;
    std::size_t failed_ = 0;
};

}  // namespace

void bind_hierarchy(nb::module_ &m) {
    nb::class_<Hierarchy>(m, "Hierarchy")
        .def("__init__", &construct<double>)
        .def("__init__", &construct<float>)
        .def_prop_ro("bytes", &Hierarchy::bytes)
        .def("levels", [](const Hierarchy &h) {
            nb::list all;
            for (const Level &level : h.levels()) {
                const LevelMatrix &l = level.matrix;
                all.append(nb::make_tuple(l.n, l.couplings, l.blocks(), l.regular_rows, l.cross_couplings, l.loaded_rows,
                                          !level.exact.empty()));
            }
            return all;
        });
    nb::class_<Correction>(m, "HierarchyCorrection")
        .def(nb::init<const Hierarchy &, Columns<const double>, int>(), nb::keep_alive<1, 2>())
        .def("advance", &Correction::advance)
        .def("estimate", &Correction::estimate)
        .def("norms", &Correction::norms)
        .def("witness", &Correction::witness);
}

}  // namespace gabp
