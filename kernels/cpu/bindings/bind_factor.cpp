// Python bindings of factor/.
#include "factor/factor.hpp"
#include "factor/nested_dissection.hpp"
#include "factor/order_choice.hpp"
#include "factor/separator.hpp"
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
    m.def("minimum_degree_order",
          [](Offsets start, Nodes source) { return give(minimum_degree_order(factor_pattern(start, source))); });
    m.def("nested_dissection_order", [](Offsets start, Nodes source, int threads) {
        const CompressedGraph compressed = compress(factor_pattern(start, source));
        return give(nested_dissection_order(compressed, std::numeric_limits<double>::infinity(), threads));
    });
    m.def("find_separator",
          [](Offsets start, Nodes source) {
              const std::vector<Side> side = find_separator(compress(factor_pattern(start, source)).graph);
              return give(std::vector<std::int8_t>(side.begin(), side.end()));
          },
          "Of each node, or group of nodes with the same neighbours: 0 left, 1 right, 2 between. Empty where no light "
          "separator is found.");
    m.def("eliminate_symbolically",
          [](Offsets start, Nodes source, Nodes order) {
              const Pattern pattern = factor_pattern(start, source);
              require(static_cast<std::int64_t>(order.shape(0)) == pattern.n, "order must have n entries");
              const EliminationTree tree =
                  eliminate_symbolically(pattern, std::vector<std::int32_t>(order.data(), order.data() + pattern.n));
              return std::make_tuple(tree.entries(), tree.flops());
          },
          "Entries of the factor under an order, and the operations to compute it.");
    m.def("symbolic", [](Offsets start, Nodes source) {
        const Pattern pattern = factor_pattern(start, source);
        nb::gil_scoped_release release;
        const auto tree = cheapest_elimination(pattern, std::numeric_limits<double>::infinity(), 1);
        return std::make_tuple(tree->entries(), tree->flops());
    });

    nb::class_<Symbolic>(m, "Symbolic")
        .def_static("of",
                    [](Offsets start, Nodes source, double most_flops, int threads) -> std::shared_ptr<Symbolic> {
                        const Pattern pattern = factor_pattern(start, source);
                        require(pattern.n > 0, "a factor needs at least one node");
                        nb::gil_scoped_release release;
                        auto tree = cheapest_elimination(pattern, most_flops, threads);
                        if (!tree) return nullptr;
                        return std::make_shared<Symbolic>(analyse_fronts(pattern, std::move(*tree)));
                    },
                    "start"_a, "source"_a, "most_flops"_a = std::numeric_limits<double>::infinity(), "threads"_a = 1)
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
