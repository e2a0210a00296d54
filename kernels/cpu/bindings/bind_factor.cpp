// Python bindings of factor/.
#include "factor/factor.hpp"
#include "bindings/tensors.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>

#include <limits>
#include <tuple>

namespace gabp {
namespace {

using namespace nb::literals;

Pattern factor_pattern(const Offsets &start, const Nodes &source) {
    const Pattern pattern = pattern_of(start, source);
    require(pattern.n < INT32_MAX, "node indices are 32-bit");
    return pattern;
}

}  // namespace

void bind_factor(nb::module_ &m) {
    m.def("symbolic", [](Offsets start, Nodes source) {
        const Pattern pattern = factor_pattern(start, source);
        nb::gil_scoped_release release;
        const EliminationTree tree = eliminate_symbolically(pattern, minimum_degree_order(pattern));
        return std::make_tuple(tree.entries(), tree.flops());
    });

    nb::class_<Symbolic>(m, "Symbolic")
        .def_static("of",
                    [](Offsets start, Nodes source, double most_flops) -> std::shared_ptr<Symbolic> {
                        const Pattern pattern = factor_pattern(start, source);
                        nb::gil_scoped_release release;
                        std::vector<std::int32_t> order = minimum_degree_order(pattern, most_flops);
                        if (order.empty() && pattern.n > 0) return nullptr;
                        EliminationTree tree = eliminate_symbolically(pattern, std::move(order));
                        if (tree.flops() > most_flops) return nullptr;
                        return std::make_shared<Symbolic>(analyse_fronts(pattern, std::move(tree)));
                    },
                    "start"_a, "source"_a, "most_flops"_a = std::numeric_limits<double>::infinity())
        .def_ro("entries", &Symbolic::entries)
        .def_ro("flops", &Symbolic::flops)
        .def_ro("peak_bytes", &Symbolic::peak_bytes)
        .def_prop_ro("fronts", &Symbolic::fronts);

    nb::class_<Factor>(m, "Factor")
        .def_static("of",
                    [](std::shared_ptr<Symbolic> symbolic, Offsets start, Nodes source, Vector<const double> diagonal,
                       Vector<const double> weight, int threads) {
                        const Pattern pattern = factor_pattern(start, source);
                        require(pattern.n == symbolic->nodes(), "the pattern is not the analysed one");
                        nb::gil_scoped_release release;
                        return std::make_shared<Factor>(symbolic, pattern, Values{diagonal.data(), weight.data()},
                                                        threads);
                    })
        .def_prop_ro("bad_node", &Factor::bad_node)
        .def_prop_ro("log_determinant", &Factor::log_determinant)
        .def("solve",
             [](const Factor &self, Columns<double> x, int threads) {
                 nb::gil_scoped_release release;
                 self.solve(x.data(), static_cast<std::int64_t>(x.shape(1)), threads);
             })
        .def("solve_upper",
             [](const Factor &self, Columns<double> x, int threads) {
                 nb::gil_scoped_release release;
                 self.solve_upper(x.data(), static_cast<std::int64_t>(x.shape(1)), threads);
             })
        .def("selected_inverse", [](const Factor &self, Offsets start, Nodes source, Offsets reverse,
                                    Vector<double> diagonal, Vector<double> weight, int threads) {
            const Pattern pattern = pattern_of(start, source, reverse);
            nb::gil_scoped_release release;
            self.selected_inverse(pattern, diagonal.data(), weight.data(), threads);
        });
}

}  // namespace gabp
