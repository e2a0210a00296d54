// Python bindings of hierarchy/: set-up, preconditioner, conjugate gradients, the elimination sweep of one level.
#include "bindings/tensors.hpp"
#include "blocks/block_cg.hpp"
#include "hierarchy/aggregation.hpp"
#include "hierarchy/batched_cg.hpp"
#include "hierarchy/cycle_workspace.hpp"
#include "hierarchy/elimination_sweep.hpp"
#include "hierarchy/jacobi_cg.hpp"
#include "hierarchy/multigrid_cg.hpp"

#include <nanobind/stl/vector.h>

#include <algorithm>

namespace gabp {
namespace {

Team team_for(std::int64_t n, int threads) { return Team(n < serial_rows ? 1 : threads); }

template <class W>
Pattern check_input(const Offsets &start, const Nodes &source, const Vector<const W> &weight,
                    const Vector<const W> &diagonal) {
    const auto n = static_cast<std::int64_t>(diagonal.shape(0));
    require(n > 0 && n < (std::int64_t(1) << 31) - 1, "the number of rows must fit 32 bits");
    require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
    require(source.shape(0) == weight.shape(0), "source and weight must have the same length");
    return {start.data(), source.data(), n};
}

template <class W>
void construct_hierarchy(Hierarchy *self, Offsets start, Nodes source, Vector<const W> weight,
                         Vector<const W> diagonal, int threads, const Hierarchy *reuse) {
    const Pattern pattern = check_input(start, source, weight, diagonal);
    require(reuse == nullptr ||
                (reuse->n() == pattern.n && reuse->couplings() == static_cast<std::int64_t>(source.shape(0))),
            "the pattern is not that of the other hierarchy");
    if (reuse != nullptr && reuse->lacks_locality()) reuse = nullptr;  // it has neither an order nor aggregates
    nb::gil_scoped_release release;
    Team team = team_for(pattern.n, threads);
    const Array<std::int32_t> *order = reuse != nullptr ? &reuse->order() : nullptr;
    new (self) Hierarchy(Preparation<W>(pattern, weight.data(), diagonal.data(), order, team), reuse, team);
}

void apply(const Hierarchy &hierarchy, Columns<const double> b, Columns<double> out, int threads) {
    require(static_cast<std::int32_t>(b.shape(0)) == hierarchy.n() && out.shape(0) == b.shape(0) &&
                out.shape(1) == b.shape(1),
            "b and out must be (n, columns)");
    nb::gil_scoped_release release;
    Team team = team_for(hierarchy.n(), threads);
    apply_v_cycle(hierarchy, b.data(), out.data(), static_cast<std::int64_t>(b.shape(1)), team);
}

nb::list levels(const Hierarchy &hierarchy) {
    nb::list all;
    if (hierarchy.lacks_locality())
        all.append(nb::make_tuple(hierarchy.n(), hierarchy.couplings(), hierarchy.n(), 0, hierarchy.couplings(), 0,
                                  false));
    for (const Level &level : hierarchy.levels()) {
        const LevelMatrix &m = level.matrix;
        all.append(nb::make_tuple(m.n, m.couplings, m.blocks(), m.regular_rows, m.cross_couplings, m.loaded_rows,
                                  !level.factor.empty()));
    }
    return all;
}

// The elimination sweep of a single level.
class EliminationSweep {
public:
    template <class W>
    EliminationSweep(Offsets start, Nodes source, Vector<const W> weight, Vector<const W> diagonal, double floor,
                     double later) {
        const auto n = static_cast<std::int32_t>(check_input(start, source, weight, diagonal).n);
        Team team(1);
        std::vector<double> exact(diagonal.data(), diagonal.data() + n);
        const RowsView<W> rows{n, start.data(), source.data(), weight.data(), exact.data(), nullptr};
        matrix_ = build_level_matrix(rows, false, team);
        set_pivots(rows, PivotFloor{floor, 0.0, later}, matrix_, team);
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
    LevelMatrix matrix_;
};

void construct_cg(BatchedCG *self, const Hierarchy &hierarchy, Columns<const double> residual, int threads) {
    require(static_cast<std::int32_t>(residual.shape(0)) == hierarchy.n(), "the residual must have n rows");
    nb::gil_scoped_release release;
    const auto columns = static_cast<std::int64_t>(residual.shape(1));
    const auto make = [&](std::int64_t first, int count, Team &team) -> std::unique_ptr<CGSolver> {
        if (hierarchy.lacks_locality())
            return std::make_unique<JacobiCG>(hierarchy, residual.data() + first, columns, count, team);
        return std::make_unique<MultigridCG>(hierarchy, residual.data() + first, columns, count, Cycle::k, team);
    };
    new (self) BatchedCG(hierarchy.n(), columns, team_for(hierarchy.n(), threads), make);
}

void construct_block_cg(BatchedCG *self, const BlockHierarchy &hierarchy, Columns<const double> residual, int threads) {
    require(static_cast<std::int64_t>(residual.shape(0)) == hierarchy.n(), "the residual must have n rows");
    nb::gil_scoped_release release;
    const auto columns = static_cast<std::int64_t>(residual.shape(1));
    const auto make = [&](std::int64_t first, int count, Team &team) -> std::unique_ptr<CGSolver> {
        return std::make_unique<BlockCG>(hierarchy, residual.data() + first, columns, count, team);
    };
    new (self) BatchedCG(hierarchy.n(), columns, Team(threads), make);
}

// (iterations done, whether the last met a direction without curvature beyond rounding)
nb::tuple advance(BatchedCG &self, std::int64_t most, Vector<const double> target, std::int64_t stall_limit) {
    require(static_cast<std::int64_t>(target.shape(0)) == self.columns(), "target must have one entry per column");
    std::int64_t done;
    {
        nb::gil_scoped_release release;
        done = self.iterate(most, target.data(), stall_limit);
    }
    return nb::make_tuple(done, self.met_flat_direction());
}

void estimate(BatchedCG &self, Columns<double> out) {
    require(static_cast<std::int64_t>(out.shape(0)) == self.n() &&
                static_cast<std::int64_t>(out.shape(1)) == self.columns(),
            "out must be (n, columns)");
    nb::gil_scoped_release release;
    self.write_solution(out.data());
}

void flat_direction(const BatchedCG &self, Vector<double> out) {
    require(static_cast<std::int64_t>(out.shape(0)) == self.n(), "out must have n entries");
    require(self.met_flat_direction(), "every direction had curvature");
    self.write_flat_direction(out.data());
}

nb::dict multigrid_constants() {
    nb::dict all;
    all["coupling_threshold"] = coupling_threshold;
    all["mutual_threshold"] = mutual_threshold;
    all["dominance_threshold"] = dominance_threshold;
    all["largest_aggregate"] = largest_aggregate;
    all["singular_diagonal"] = singular_diagonal;
    all["largest_coarsening_ratio"] = largest_coarsening_ratio;
    all["smallest_inner_share"] = smallest_inner_share;
    all["pivot_rounding"] = pivot_rounding;
    all["full_sweep_floor"] = nb::make_tuple(full_sweep_floor.diagonal, full_sweep_floor.later);
    all["half_sweep_floor"] = nb::make_tuple(half_sweep_floor.diagonal, half_sweep_floor.later);
    all["singular_pivot"] = singular_pivot;
    return all;
}

}  // namespace

void bind_hierarchy(nb::module_ &m) {
    using namespace nb::literals;
    const auto keeps_arrays = [](auto construct, nb::class_<Hierarchy> &hierarchy) {
        hierarchy.def("__init__", construct, "start"_a, "source"_a, "weight"_a, "diagonal"_a, "threads"_a,
                      "reuse"_a.none() = nb::none(), nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>(),
                      nb::keep_alive<1, 4>());
    };
    nb::class_<Hierarchy> hierarchy(m, "Hierarchy");
    keeps_arrays(&construct_hierarchy<double>, hierarchy);
    keeps_arrays(&construct_hierarchy<float>, hierarchy);
    hierarchy.def("apply", &apply, "One V-cycle: out = B b.")
        .def("levels", &levels,
             "(rows, couplings, row blocks, rows in regular runs, couplings between blocks, loaded rows, whether it is "
             "eliminated exactly) of each level.")
        .def_prop_ro("scaled", &Hierarchy::scaled)
        .def_prop_ro("reordered", &Hierarchy::reordered)
        .def_prop_ro("bytes", &Hierarchy::bytes);
    nb::class_<EliminationSweep>(m, "EliminationSweep")
        .def(nb::init<Offsets, Nodes, Vector<const double>, Vector<const double>, double, double>())
        .def(nb::init<Offsets, Nodes, Vector<const float>, Vector<const float>, double, double>())
        .def("apply", &EliminationSweep::apply)
        .def_prop_ro("pivots", &EliminationSweep::pivots)
        .def_prop_ro("blocks", &EliminationSweep::blocks)
        .def_prop_ro("loaded", &EliminationSweep::loaded);
    nb::class_<BatchedCG>(m, "ConjugateGradients")
        .def("__init__", &construct_cg, nb::keep_alive<1, 2>())
        .def("__init__", &construct_block_cg, nb::keep_alive<1, 2>())
        .def("advance", &advance, "(iterations done, whether a direction had no curvature beyond rounding).")
        .def("estimate", &estimate)
        .def("norms", &BatchedCG::norms)
        .def("flat_direction", &flat_direction);
    m.def("multigrid_constants", &multigrid_constants,
          "Thresholds that kernels/torch/aggregation.py and kernels/torch/multigrid_levels.py share.");
}

}  // namespace gabp
