// What Python sees of the hierarchy: set-up, the preconditioner, and conjugate gradients at work.
#include "hierarchy/multigrid_cg.hpp"
#include "hierarchy/jacobi_cg.hpp"
#include "hierarchy/elimination_sweep.hpp"
#include "bindings/tensors.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace gabp {
namespace {

int team_size(std::int64_t n, int threads) { return n < serial_rows ? 1 : std::max(threads, 1); }

template <class W>
std::int32_t check_input(const Offsets &start, const Nodes &source, const Vector<const W> &weight,
                         const Vector<const W> &diagonal) {
    const auto n = static_cast<std::int64_t>(diagonal.shape(0));
    require(n > 0 && n < (std::int64_t(1) << 31) - 1, "the number of rows must fit 32 bits");
    require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
    require(source.shape(0) == weight.shape(0), "source and weight must have the same length");
    return static_cast<std::int32_t>(n);
}

template <class W>
void construct_hierarchy(Hierarchy *self, Offsets start, Nodes source, Vector<const W> weight,
                         Vector<const W> diagonal, int threads, const Hierarchy *like) {
    const std::int32_t n = check_input(start, source, weight, diagonal);
    require(like == nullptr || (like->n() == n && like->couplings() == static_cast<std::int64_t>(source.shape(0))),
            "the pattern is not that of the other hierarchy");
    if (like != nullptr && like->scattered()) like = nullptr;  // it has neither an order nor clusters to keep
    nb::gil_scoped_release release;
    Team team(team_size(n, threads));
    new (self) Hierarchy(
        Preparation<W>(n, start.data(), source.data(), weight.data(), diagonal.data(),
                       like != nullptr ? &like->order() : nullptr, team),
        like, team);
}

// B b for a fixed V-cycle B, in the user's order and units.
void apply_cycle(const Hierarchy &hierarchy, Columns<const double> b, Columns<double> out, int threads) {
    const std::int64_t n = hierarchy.n(), columns = static_cast<std::int64_t>(b.shape(1));
    require(static_cast<std::int64_t>(b.shape(0)) == n && out.shape(0) == b.shape(0) && out.shape(1) == b.shape(1),
            "b and out must be (n, columns)");
    nb::gil_scoped_release release;
    Team team(team_size(n, threads));
    if (hierarchy.scattered()) {
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t c = 0; c < columns; ++c)
                out.data()[i * columns + c] =
                    static_cast<double>(hierarchy.slots().inverse[i]) * b.data()[i * columns + c];
        return;
    }
    for (std::int64_t first = 0; first < columns; first += 8) {
        const int group = static_cast<int>(std::min<std::int64_t>(8, columns - first));
        const int width = padded_columns(group);
        Passage passage(hierarchy, width, Cycle::v, team);
        Array<float> in(n * width), result(n * width);
        for (std::int64_t i = 0; i < n; ++i)
            for (int c = 0; c < width; ++c)
                in[i * width + c] = c < group ? static_cast<float>(hierarchy.scale(i) *
                                                                   b.data()[hierarchy.place(i) * columns + first + c])
                                              : 0.0f;
        passage.apply(in.data(), result.data());
        for (std::int64_t i = 0; i < n; ++i)
            for (int c = 0; c < group; ++c)
                out.data()[hierarchy.place(i) * columns + first + c] =
                    hierarchy.scale(i) * static_cast<double>(result[i * width + c]);
    }
}

// The elimination sweep of one model on its own.
class EliminationSweep {
public:
    template <class W>
    EliminationSweep(Offsets start, Nodes source, Vector<const W> weight, Vector<const W> diagonal, double floor,
                     double later) {
        const std::int32_t n = check_input(start, source, weight, diagonal);
        Team team(1);
        std::vector<double> exact(diagonal.data(), diagonal.data() + n);
        const RowsView<W> rows{n, start.data(), source.data(), weight.data(), exact.data(), nullptr};
        matrix_ = lay_out(rows, false, team);
        set_pivots(rows, Loading{floor, 0.0, later}, matrix_, team);
    }

    void apply(Columns<const float> b, Columns<float> out) const {
        const auto columns = static_cast<int>(b.shape(1));
        require(static_cast<std::int32_t>(b.shape(0)) == matrix_.n && out.shape(0) == b.shape(0) &&
                    out.shape(1) == b.shape(1),
                "b and out must be (n, columns)");
        require(columns == padded_columns(columns), "the number of columns must be 1, 2, 4 or 8");
        const RowKernels &kernel = row_kernels(columns);
        const SweepView view = matrix_.view();
        for (int k = 0; k < matrix_.blocks(); ++k) {
            kernel.forward(view, matrix_.block_run[k], matrix_.block_run[k + 1], b.data(), out.data());
            kernel.backward(view, matrix_.block_run[k], matrix_.block_run[k + 1], out.data());
        }
    }

    std::vector<float> pivots() const {
        std::vector<float> all(matrix_.inverse_pivot.data(), matrix_.inverse_pivot.data() + matrix_.n);
        for (float &p : all) p = 1.0f / p;
        return all;
    }
    std::int64_t loaded() const { return matrix_.loaded_rows; }
    std::vector<std::int32_t> blocks() const { return matrix_.block; }

private:
    ModelMatrix matrix_;
};

// Conjugate gradients on any number of columns, in groups of up to eight that share every sweep.
class Correction {
public:
    Correction(const Hierarchy &hierarchy, Columns<const double> residual, int threads)
        : n_(hierarchy.n()), columns_(static_cast<std::int64_t>(residual.shape(1))),
          team_(team_size(hierarchy.n(), threads)) {
        require(static_cast<std::int32_t>(residual.shape(0)) == n_, "the residual must have n rows");
        nb::gil_scoped_release release;
        for (std::int64_t c = 0; c < columns_; c += 8) {
            const auto count = static_cast<int>(std::min<std::int64_t>(8, columns_ - c));
            if (hierarchy.scattered())
                group_.push_back(std::make_unique<DiagonalGradients>(hierarchy, residual.data() + c, columns_, count, team_));
            else
                group_.push_back(std::make_unique<ConjugateGradients>(hierarchy, residual.data() + c, columns_, count,
                                                                      Cycle::k, team_));
        }
    }

    Correction(const Correction &) = delete;
    Correction &operator=(const Correction &) = delete;

    // Up to `steps` steps, until every column's norm is within its target or none has gained, in norm or in energy,
    // for `patience` steps or half of all, if that is more, or a direction is suspect (see `witness`): (done, suspect).
    nb::tuple advance(std::int64_t steps, Vector<const double> target, std::int64_t patience) {
        require(static_cast<std::int64_t>(target.shape(0)) == columns_, "target must have one entry per column");
        std::int64_t done = 0;
        suspect_ = -1;
        {
            nb::gil_scoped_release release;
            for (; done < steps && suspect_ < 0 && idle_ < std::max(patience, taken_ / 2); ++done) {
                bool all = true, gained = false;
                for (std::size_t g = 0; g < group_.size(); ++g) {
                    if (reached(g, target.data())) continue;
                    all = false;
                    group_[g]->step();
                    gained = lowered(g) || group_[g]->gained_energy() || gained;
                    if (group_[g]->suspect() >= 0) suspect_ = static_cast<int>(g);
                }
                if (all) break;
                idle_ = gained ? 0 : idle_ + 1;
                ++taken_;
            }
        }
        return nb::make_tuple(done, suspect_ >= 0);
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

    // The direction along which A has no curvature beyond rounding.
    void witness(Vector<double> out) const {
        require(static_cast<std::int32_t>(out.shape(0)) == n_, "out must have n entries");
        require(suspect_ >= 0, "no direction is suspect");
        group_[suspect_]->write_direction(group_[suspect_]->suspect(), out.data());
    }

private:
    bool lowered(std::size_t g) {
        bool any = false;
        lowest_.resize(static_cast<std::size_t>(columns_), INFINITY);
        for (int c = 0; c < group_[g]->columns(); ++c) {
            double &lowest = lowest_[8 * g + static_cast<std::size_t>(c)];
            const double norm = group_[g]->norms()[static_cast<std::size_t>(c)];
            if (norm < lowest) {
                lowest = norm;
                any = true;
            }
        }
        return any;
    }

    bool reached(std::size_t g, const double *target) const {
        for (int c = 0; c < group_[g]->columns(); ++c)
            if (!(group_[g]->norms()[static_cast<std::size_t>(c)] <= target[8 * g + static_cast<std::size_t>(c)])) return false;
        return true;
    }

    std::int32_t n_;
    std::int64_t columns_;
    Team team_;
    std::vector<std::unique_ptr<Gradients>> group_;
    int suspect_ = -1;  // the group that met a suspect direction in its last step
    std::vector<double> lowest_;
    std::int64_t idle_ = 0, taken_ = 0;
};

}  // namespace

void bind_hierarchy(nb::module_ &m) {
    using namespace nb::literals;
    nb::class_<Hierarchy>(m, "Hierarchy")
        .def("__init__", &construct_hierarchy<double>, "start"_a, "source"_a, "weight"_a, "diagonal"_a,
             "threads"_a, "like"_a.none() = nb::none(), nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>(), nb::keep_alive<1, 4>())
        .def("__init__", &construct_hierarchy<float>, "start"_a, "source"_a, "weight"_a, "diagonal"_a,
             "threads"_a, "like"_a.none() = nb::none(), nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>(), nb::keep_alive<1, 4>())
        .def("apply", &apply_cycle)
        .def_prop_ro("scaled", &Hierarchy::scaled)
        .def_prop_ro("reordered", &Hierarchy::reordered)
        .def_prop_ro("bytes", &Hierarchy::bytes)
        .def("models", [](const Hierarchy &h) {
            nb::list all;
            if (h.scattered()) all.append(nb::make_tuple(h.n(), h.couplings(), h.n(), 0, h.couplings(), 0, false));
            for (const Model &model : h.models()) {
                const ModelMatrix &l = model.matrix;
                all.append(nb::make_tuple(l.n, l.couplings, l.blocks(), l.regular_rows, l.cross_couplings, l.loaded_rows,
                                          !model.exact.empty()));
            }
            return all;
        });
    nb::class_<EliminationSweep>(m, "EliminationSweep")
        .def(nb::init<Offsets, Nodes, Vector<const double>, Vector<const double>, double, double>())
        .def(nb::init<Offsets, Nodes, Vector<const float>, Vector<const float>, double, double>())
        .def("apply", &EliminationSweep::apply)
        .def_prop_ro("pivots", &EliminationSweep::pivots)
        .def_prop_ro("blocks", &EliminationSweep::blocks)
        .def_prop_ro("loaded", &EliminationSweep::loaded);
    nb::class_<Correction>(m, "HierarchyCorrection")
        .def(nb::init<const Hierarchy &, Columns<const double>, int>(), nb::keep_alive<1, 2>())
        .def("advance", &Correction::advance)
        .def("estimate", &Correction::estimate)
        .def("norms", &Correction::norms)
        .def("witness", &Correction::witness);
}

}  // namespace gabp
