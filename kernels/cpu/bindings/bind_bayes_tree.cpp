// Python bindings of the Bayes tree.
#include "bindings/tensors.hpp"
#include "factors/bayes_tree.hpp"

#include <algorithm>
#include <numeric>

namespace gabp {
namespace {

using Indices = Vector<const std::int64_t>;
template <class T>
using Cube = View<T, 3>;

nb::ndarray<nb::numpy, std::int64_t, nb::ndim<1>> give_numpy(std::vector<std::int64_t> &&values) {
    auto *owned = new std::vector<std::int64_t>(std::move(values));
    nb::capsule owner(owned, [](void *p) noexcept { delete static_cast<std::vector<std::int64_t> *>(p); });
    return nb::ndarray<nb::numpy, std::int64_t, nb::ndim<1>>(owned->data(), {owned->size()}, owner);
}

bool all_within(const Indices &numbers, std::int64_t end) {
    return std::all_of(numbers.data(), numbers.data() + numbers.shape(0),
                       [&](std::int64_t i) { return i >= 0 && i < end; });
}

TermArrays checked_terms(const BayesTree &tree, const Indices &dimension, const Columns<const std::int64_t> &variable,
                         const Cube<const double> &product, const Columns<const double> &gradient) {
    const std::size_t count = variable.shape(0), arity = variable.shape(1), columns = gradient.shape(1);
    require(dimension.shape(0) == arity, "dimension has another shape");
    const std::int64_t total = std::accumulate(dimension.data(), dimension.data() + arity, std::int64_t{0});
    require(static_cast<std::int64_t>(columns) == total && gradient.shape(0) == count, "gradient has another shape");
    require(product.shape(0) == count && product.shape(1) == columns && product.shape(2) == columns,
            "product has another shape");
    for (std::size_t k = 0; k < count * arity; ++k) {
        const std::int64_t v = variable.data()[k];
        require(v < tree.variables(), "there is no such variable");
        require(v < 0 || tree.dimension(v) == dimension.data()[k % arity], "a variable has another dimension");
    }
    return {static_cast<std::int64_t>(count),
            static_cast<std::int64_t>(arity),
            static_cast<std::int64_t>(columns),
            dimension.data(),
            variable.data(),
            product.data(),
            gradient.data()};
}

}  // namespace

void bind_bayes_tree(nb::module_ &m) {
    nb::class_<BayesTree>(m, "BayesTree")
        .def(nb::init<>())
        .def_prop_ro("variables", &BayesTree::variables)
        .def_prop_ro("unknowns", &BayesTree::unknowns)
        .def_prop_ro("complete", &BayesTree::complete)
        .def_prop_ro("eliminated", &BayesTree::eliminated)
        .def_prop_ro("entries", &BayesTree::entries)
        .def("add_variables",
             [](BayesTree &self, Indices dimension) {
                 const auto positive = [](std::int64_t d) { return d > 0 && d < INT32_MAX; };
                 require(std::all_of(dimension.data(), dimension.data() + dimension.shape(0), positive),
                         "dimensions must be positive");
                 self.add_variables(dimension.data(), static_cast<std::int64_t>(dimension.shape(0)));
             })
        .def("add_terms",
             [](BayesTree &self, Indices dimension, Columns<const std::int64_t> variable, Cube<const double> product,
                Columns<const double> gradient) {
                 self.add_terms(checked_terms(self, dimension, variable, product, gradient));
             })
        .def("replace_terms",
             [](BayesTree &self, Indices term, Indices dimension, Columns<const std::int64_t> variable,
                Cube<const double> product, Columns<const double> gradient) {
                 require(term.shape(0) == variable.shape(0) && all_within(term, self.terms()), "no such terms");
                 self.replace_terms(term.data(), checked_terms(self, dimension, variable, product, gradient));
             })
        .def("remove_terms",
             [](BayesTree &self, Indices term) {
                 require(all_within(term, self.terms()), "no such terms");
                 self.remove_terms(term.data(), static_cast<std::int64_t>(term.shape(0)));
             })
        .def("eliminate",
             [](BayesTree &self) {
                 nb::gil_scoped_release release;
                 return self.eliminate();
             })
        .def("substitute",
             [](BayesTree &self, double threshold) {
                 require(self.complete(), "eliminate first");
                 nb::gil_scoped_release release;
                 self.substitute(threshold);
             })
        .def("step",
             [](const BayesTree &self, Indices variable, Columns<double> step) {
                 require(all_within(variable, self.variables()), "there is no such variable");
                 require(step.shape(0) == variable.shape(0), "step has another shape");
                 for (std::size_t k = 0; k < variable.shape(0); ++k) {
                     const std::int64_t v = variable.data()[k];
                     require(static_cast<std::size_t>(self.dimension(v)) == step.shape(1), "step has another shape");
                     std::copy_n(self.step(v), self.dimension(v), step.data() + k * step.shape(1));
                 }
             })
        .def("reset_steps",
             [](BayesTree &self, Indices variable) {
                 require(all_within(variable, self.variables()), "there is no such variable");
                 for (std::size_t k = 0; k < variable.shape(0); ++k) self.reset_step(variable.data()[k]);
             })
        .def("terms_on",
             [](const BayesTree &self, Indices variable) {
                 require(all_within(variable, self.variables()), "there is no such variable");
                 return give_numpy(self.terms_on(variable.data(), static_cast<std::int64_t>(variable.shape(0))));
             })
        .def("moved_beyond", [](const BayesTree &self, double limit) { return give_numpy(self.moved_beyond(limit)); })
        .def("diagonal",
             [](const BayesTree &self, Vector<double> x) {
                 require(static_cast<std::int64_t>(x.shape(0)) == self.unknowns(), "x has another shape");
                 std::copy(self.diagonal().begin(), self.diagonal().end(), x.data());
             })
        .def("solve", [](const BayesTree &self, Vector<double> x) {
            require(self.complete(), "eliminate first");
            require(static_cast<std::int64_t>(x.shape(0)) == self.unknowns(), "x has another shape");
            nb::gil_scoped_release release;
            self.solve(x.data());
        });
}

}  // namespace gabp
