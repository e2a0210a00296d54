// Python bindings of factors/.
#include "bindings/tensors.hpp"
#include "factors/cameras.hpp"
#include "factors/messages.hpp"
#include "factors/normal_equations.hpp"
#include "factors/poses.hpp"

#include <optional>

#include <nanobind/stl/optional.h>

namespace gabp {
namespace {

using Numbers = Vector<const double>;
using Indices = Vector<const std::int64_t>;
template <class T>
using Cube = nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

using Between = void (*)(std::int64_t, const double *, const double *, const double *, double *, double *);

template <Between between, int Width, int Dimension>
void checked_between(Columns<const double> first, Columns<const double> second, Columns<const double> measurement,
                     Columns<double> residual, Cube<double> jacobian) {
    const std::size_t count = first.shape(0);
    for (const auto *poses : {&first, &second, &measurement})
        require(poses->shape(0) == count && poses->shape(1) == Width, "poses of one number and width are needed");
    require(residual.shape(0) == count && residual.shape(1) == Dimension, "residual has another shape");
    require(jacobian.shape(0) == count && jacobian.shape(1) == Dimension && jacobian.shape(2) == 2 * Dimension,
            "jacobian has another shape");
    nb::gil_scoped_release release;
    between(static_cast<std::int64_t>(count), first.data(), second.data(), measurement.data(), residual.data(),
            jacobian.data());
}

template <void (*retract)(std::int64_t, const double *, const double *, double *), int Width, int Dimension>
void checked_retract(Columns<const double> poses, Columns<const double> delta, Columns<double> moved) {
    const std::size_t count = poses.shape(0);
    require(poses.shape(1) == Width && moved.shape(0) == count && moved.shape(1) == Width,
            "poses of one number and width are needed");
    require(delta.shape(0) == count && delta.shape(1) == Dimension, "steps have another shape");
    nb::gil_scoped_release release;
    retract(static_cast<std::int64_t>(count), poses.data(), delta.data(), moved.data());
}

void checked_reprojection(Columns<const double> camera, Columns<const double> point, Columns<const double> pixel,
                          Columns<double> residual, std::optional<Cube<double>> jacobian) {
    const std::size_t count = camera.shape(0);
    require(camera.shape(1) == 9 && point.shape(0) == count && point.shape(1) == 3, "cameras and points do not fit");
    require(pixel.shape(0) == count && pixel.shape(1) == 2, "pixel has another shape");
    require(residual.shape(0) == count && residual.shape(1) == 2, "residual has another shape");
    require(!jacobian || (jacobian->shape(0) == count && jacobian->shape(1) == 2 && jacobian->shape(2) == 12),
            "jacobian has another shape");
    nb::gil_scoped_release release;
    reprojection(static_cast<std::int64_t>(count), camera.data(), point.data(), pixel.data(), residual.data(),
                 jacobian ? jacobian->data() : nullptr);
}

void require_root(const std::optional<Cube<const double>> &root, std::size_t count, std::size_t rows) {
    require(!root || ((root->shape(0) == count || root->shape(0) == 1) && root->shape(1) == rows &&
                      root->shape(2) == rows),
            "root has another shape");
}

void checked_whiten(std::optional<Cube<const double>> root, Columns<const double> residual, Columns<double> whitened,
                    Vector<double> squared) {
    const std::size_t count = residual.shape(0), rows = residual.shape(1);
    require_root(root, count, rows);
    require(squared.shape(0) == count, "squared has another shape");
    require(whitened.shape(0) == count && whitened.shape(1) == rows, "whitened has another shape");
    FactorArrays factors{};
    factors.count = static_cast<std::int64_t>(count);
    factors.rows = static_cast<std::int64_t>(rows);
    factors.root = root ? root->data() : nullptr;
    factors.shared_root = root && root->shape(0) == 1;
    factors.residual = residual.data();
    nb::gil_scoped_release release;
    whiten(factors, whitened.data(), squared.data());
}

void checked_products(std::optional<Cube<const double>> root, Columns<const double> residual,
                      Cube<const double> jacobian, std::optional<Numbers> factor_weight, Cube<double> product,
                      Columns<double> gradient) {
    const std::size_t count = jacobian.shape(0), rows = jacobian.shape(1), columns = jacobian.shape(2);
    require(residual.shape(0) == count && residual.shape(1) == rows, "residual has another shape");
    require(!factor_weight || factor_weight->shape(0) == count, "weight has another shape");
    require_root(root, count, rows);
    require(product.shape(0) == count && product.shape(1) == columns && product.shape(2) == columns,
            "product has another shape");
    require(gradient.shape(0) == count && gradient.shape(1) == columns, "gradient has another shape");
    const FactorArrays factors{static_cast<std::int64_t>(count),
                               static_cast<std::int64_t>(rows),
                               static_cast<std::int64_t>(columns),
                               root ? root->data() : nullptr,
                               root && root->shape(0) == 1,
                               residual.data(),
                               jacobian.data(),
                               factor_weight ? factor_weight->data() : nullptr};
    nb::gil_scoped_release release;
    products(factors, product.data(), gradient.data());
}

void checked_add_products(std::optional<Cube<const double>> root, Columns<const double> residual,
                          Cube<const double> jacobian, std::optional<Numbers> factor_weight, Indices dimension,
                          Columns<const std::int64_t> unknown, Cube<const std::int64_t> block,
                          Columns<const std::int64_t> stride, Vector<double> weight, Vector<double> diagonal,
                          Vector<double> gradient) {
    const std::size_t count = jacobian.shape(0), rows = jacobian.shape(1), variables = dimension.shape(0);
    require(residual.shape(0) == count && residual.shape(1) == rows, "residual has another shape");
    require(unknown.shape(0) == count && unknown.shape(1) == variables, "unknown has another shape");
    require(stride.shape(0) == count && stride.shape(1) == variables, "stride has another shape");
    require(block.shape(0) == count && block.shape(1) == variables && block.shape(2) == variables,
            "block has another shape");
    require(!factor_weight || factor_weight->shape(0) == count, "weight has another shape");
    require_root(root, count, rows);
    require(diagonal.shape(0) == gradient.shape(0), "diagonal and gradient must have one length");
    const FactorArrays factors{static_cast<std::int64_t>(count),
                               static_cast<std::int64_t>(rows),
                               static_cast<std::int64_t>(jacobian.shape(2)),
                               root ? root->data() : nullptr,
                               root && root->shape(0) == 1,
                               residual.data(),
                               jacobian.data(),
                               factor_weight ? factor_weight->data() : nullptr};
    const PlaceArrays places{static_cast<std::int64_t>(variables), dimension.data(), unknown.data(), block.data(),
                             stride.data()};
    nb::gil_scoped_release release;
    add_products(factors, places, {weight.data(), diagonal.data(), gradient.data()});
}

void checked_outgoing_messages(Indices dimension, Cube<const double> precision, Columns<const double> potential,
                               Columns<const double> incoming_precision, Columns<const double> incoming,
                               Columns<double> sent_precision, Columns<double> sent, Vector<bool> definite) {
    const std::size_t count = precision.shape(0), width = precision.shape(2);
    std::size_t unknowns = 0, packed = 0;
    for (std::size_t p = 0; p < dimension.shape(0); ++p) {
        const auto size = static_cast<std::size_t>(dimension.data()[p]);
        unknowns += size;
        packed += size * size;
    }
    require(precision.shape(1) == width && unknowns == width, "precision has another shape");
    for (const auto *vectors : {&potential, &incoming})
        require(vectors->shape(0) == count && vectors->shape(1) == width, "a potential has another shape");
    require(incoming_precision.shape(0) == count && incoming_precision.shape(1) == packed, "precisions are not packed");
    require(sent_precision.shape(0) == count && sent_precision.shape(1) == packed, "precisions are not packed");
    require(sent.shape(0) == count && sent.shape(1) == width && definite.shape(0) == count, "outputs have another shape");
    const GaussianFactors factors{static_cast<std::int64_t>(count), static_cast<std::int64_t>(dimension.shape(0)),
                                  static_cast<std::int64_t>(width), dimension.data(), precision.data(),
                                  potential.data()};
    const auto numbers = static_cast<std::int64_t>(packed);
    nb::gil_scoped_release release;
    outgoing_messages(factors, {numbers, incoming_precision.data(), incoming.data()},
                      {numbers, sent_precision.data(), sent.data()}, definite.data());
}

void checked_transport_messages(Columns<double> precision, Columns<double> potential, std::int64_t row,
                                std::int64_t block, Indices factor, Indices variable, Columns<const double> delta,
                                Cube<const double> turn) {
    const std::size_t size = delta.shape(1), count = factor.shape(0);
    require(row >= 0 && row + size <= potential.shape(1), "the rows are outside the potential");
    require(block >= 0 && block + size * size <= precision.shape(1), "the block is outside the precision");
    require(precision.shape(0) == potential.shape(0), "precision and potential must have one length");
    require(variable.shape(0) == count, "factor and variable must have one length");
    require(turn.shape(0) == delta.shape(0) && turn.shape(1) == size && turn.shape(2) == size, "turn has another shape");
    for (std::size_t k = 0; k < count; ++k) {
        require(factor.data()[k] >= 0 && factor.data()[k] < static_cast<std::int64_t>(potential.shape(0)),
                "a factor is out of range");
        require(variable.data()[k] >= 0 && variable.data()[k] < static_cast<std::int64_t>(delta.shape(0)),
                "a variable is out of range");
    }
    const Transport transport{static_cast<std::int64_t>(count),
                              static_cast<std::int64_t>(size),
                              static_cast<std::int64_t>(potential.shape(1)),
                              static_cast<std::int64_t>(precision.shape(1)),
                              row,
                              block,
                              factor.data(),
                              variable.data(),
                              delta.data(),
                              turn.data()};
    nb::gil_scoped_release release;
    transport_messages(transport, precision.data(), potential.data());
}

}  // namespace

void bind_factors(nb::module_ &m) {
    m.def("between_se2", &checked_between<between_se2, 3, 3>);
    m.def("between_se3", &checked_between<between_se3, 7, 6>);
    m.def("retract_se2", &checked_retract<retract_se2, 3, 3>);
    m.def("retract_se3", &checked_retract<retract_se3, 7, 6>);
    m.def("reprojection", &checked_reprojection, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
    m.def("whiten", &checked_whiten, nb::arg().none(), nb::arg(), nb::arg(), nb::arg());
    m.def("outgoing_messages", &checked_outgoing_messages);
    m.def("transport_messages", &checked_transport_messages);
    m.def("products", &checked_products, nb::arg().none(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg());
    m.def("add_products", &checked_add_products, nb::arg().none(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(),
          nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg());
}

}  // namespace gabp
