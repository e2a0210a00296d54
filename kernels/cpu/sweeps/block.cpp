// Sweeps with vector-valued nodes: every number of the scalar sweep becomes a d × d block. Compiled for fixed d = 2, 3
// (plane poses) and 6 (space poses), so that their loops unroll, and for any other.
#include "bindings/tensors.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace gabp {
namespace {

using Cubes = View<double, 3>;
using ConstCubes = View<const double, 3>;

constexpr double smallest_pivot = 0.0025;  // as a share of the diagonal; smaller ones are replaced
constexpr double largest_growth = 20.0;    // of the inverse of a general pivot over that of the diagonal block

// d × d blocks; (d, columns) for each node.
struct Shape {
    std::int64_t d, columns;
};

// A square block of D rows; of a dynamic size where D is 0.
template <int D>
struct Block {
    std::array<double, static_cast<std::size_t>(D) * D> values;
    explicit Block(std::int64_t) {}
    double *data() { return values.data(); }
};
template <>
struct Block<0> {
    std::vector<double> values;
    explicit Block(std::int64_t d) : values(static_cast<std::size_t>(d * d)) {}
    double *data() { return values.data(); }
};

template <int D>
inline std::int64_t size_of(std::int64_t d) { return D > 0 ? D : d; }

// c += sign * a b, all of them square.
template <int D>
void add_product(double *c, const double *a, const double *b, double sign, std::int64_t dynamic) {
    const std::int64_t d = size_of<D>(dynamic);
    for (std::int64_t i = 0; i < d; ++i)
        for (std::int64_t k = 0; k < d; ++k) {
            const double factor = sign * a[i * d + k];
            for (std::int64_t j = 0; j < d; ++j) c[i * d + j] += factor * b[k * d + j];
        }
}

// The inverse of a symmetric block by its Cholesky factor; false where a squared diagonal entry of the factor is not
// above `least` times that of `measure`.
template <int D>
bool invert(const double *a, const double *measure, double least, double *inverse, double *factor,
            std::int64_t dynamic) {
    const std::int64_t d = size_of<D>(dynamic);
    for (std::int64_t j = 0; j < d; ++j) {
        for (std::int64_t i = j; i < d; ++i) {
            double sum = 0.5 * (a[i * d + j] + a[j * d + i]);
            for (std::int64_t k = 0; k < j; ++k) sum -= factor[i * d + k] * factor[j * d + k];
            if (i == j) {
                if (!(sum > 0.0) || sum < least * measure[j * d + j]) return false;
                factor[j * d + j] = std::sqrt(sum);
            } else {
                factor[i * d + j] = sum / factor[j * d + j];
            }
        }
    }
    for (std::int64_t c = 0; c < d; ++c) {  // column c of the inverse: two triangular solves
        for (std::int64_t i = 0; i < d; ++i) {
            double sum = i == c ? 1.0 : 0.0;
            for (std::int64_t k = 0; k < i; ++k) sum -= factor[i * d + k] * inverse[k * d + c];
            inverse[i * d + c] = sum / factor[i * d + i];
        }
        for (std::int64_t i = d; i-- > 0;) {
            double sum = inverse[i * d + c];
            for (std::int64_t k = i + 1; k < d; ++k) sum -= factor[k * d + i] * inverse[k * d + c];
            inverse[i * d + c] = sum / factor[i * d + i];
        }
    }
    return true;
}

// The inverse of a general block by Gauss-Jordan elimination with partial pivoting; false where it is singular.
// `work` is overwritten.
template <int D>
bool invert_general(const double *a, double *inverse, double *work, std::int64_t dynamic) {
    const std::int64_t d = size_of<D>(dynamic);
    std::copy(a, a + d * d, work);
    std::fill(inverse, inverse + d * d, 0.0);
    for (std::int64_t i = 0; i < d; ++i) inverse[i * d + i] = 1.0;
    for (std::int64_t c = 0; c < d; ++c) {
        std::int64_t best = c;
        for (std::int64_t i = c + 1; i < d; ++i)
            if (std::abs(work[i * d + c]) > std::abs(work[best * d + c])) best = i;
        const double pivot = work[best * d + c];
        if (!(std::abs(pivot) > 0.0) || !std::isfinite(pivot)) return false;
        if (best != c) {
            std::swap_ranges(work + best * d, work + best * d + d, work + c * d);
            std::swap_ranges(inverse + best * d, inverse + best * d + d, inverse + c * d);
        }
        for (std::int64_t j = 0; j < d; ++j) {
            work[c * d + j] /= pivot;
            inverse[c * d + j] /= pivot;
        }
        for (std::int64_t i = 0; i < d; ++i) {
            const double factor = work[i * d + c];
            if (i == c || factor == 0.0) continue;
            for (std::int64_t j = 0; j < d; ++j) {
                work[i * d + j] -= factor * work[c * d + j];
                inverse[i * d + j] -= factor * inverse[c * d + j];
            }
        }
    }
    return true;
}

// The largest absolute row sum.
template <int D>
double norm(const double *a, std::int64_t dynamic) {
    const std::int64_t d = size_of<D>(dynamic);
    double largest = 0.0;
    for (std::int64_t i = 0; i < d; ++i) {
        double sum = 0.0;
        for (std::int64_t j = 0; j < d; ++j) sum += std::abs(a[i * d + j]);
        largest = std::max(largest, sum);
    }
    return largest;
}

// The inverse of a pivot, or of its diagonal block `own` where the pivot is too small; false where neither has one.
template <int D>
bool invert_pivot(const double *pivot, const double *own, bool symmetric, double *inverse, double *work,
            std::int64_t dynamic) {
    const std::int64_t d = size_of<D>(dynamic);
    if (symmetric)
        return invert<D>(pivot, own, smallest_pivot, inverse, work, d) || invert<D>(own, own, 0.0, inverse, work, d);
    Block<D> plain(d);
    const bool fallback = invert_general<D>(own, plain.data(), work, d);
    const double most = fallback ? largest_growth * norm<D>(plain.data(), d) : std::numeric_limits<double>::max();
    if (invert_general<D>(pivot, inverse, work, d) && norm<D>(inverse, d) <= most) return true;
    std::copy(plain.data(), plain.data() + d * d, inverse);
    return fallback;
}

template <int D>
std::int64_t pivots(const Pattern &edges, const double *weight, const double *diagonal, bool symmetric, double *inverse,
                    std::int64_t dynamic) {
    const auto [start, source, n, reverse] = edges;
    const std::int64_t d = size_of<D>(dynamic), size = d * d;
    Block<D> pivot(d), product(d), work(d);
    for (std::int64_t i = 0; i < n; ++i) {
        const double *own = diagonal + i * size;
        std::copy(own, own + size, pivot.data());
        for (std::int64_t e = start[i]; e < start[i + 1] && source[e] < i; ++e) {
            std::fill(product.data(), product.data() + size, 0.0);
            add_product<D>(product.data(), weight + e * size, inverse + source[e] * size, 1.0, d);
            add_product<D>(pivot.data(), product.data(), weight + reverse[e] * size, -1.0, d);
        }
        if (!invert_pivot<D>(pivot.data(), own, symmetric, inverse + i * size, work.data(), d)) return i;
    }
    return -1;
}

// out = sign * a x, or out += sign * a x, for one node and all columns.
template <int D>
void multiply(const double *a, const double *x, double *out, const Shape &shape, double sign, bool add) {
    const std::int64_t d = size_of<D>(shape.d), columns = shape.columns;
    for (std::int64_t i = 0; i < d; ++i)
        for (std::int64_t c = 0; c < columns; ++c) {
            double sum = 0.0;
            for (std::int64_t k = 0; k < d; ++k) sum += a[i * d + k] * x[k * columns + c];
            out[i * columns + c] = (add ? out[i * columns + c] : 0.0) + sign * sum;
        }
}

template <int D>
void sweep(const Pattern &edges, const double *weight, const double *inverse, const double *r, double *y,
           const Shape &shape) {
    const std::int64_t *start = edges.start;
    const std::int32_t *source = edges.source;
    const std::int64_t n = edges.n, d = size_of<D>(shape.d), size = d * d, stride = d * shape.columns;
    std::vector<double> sum(static_cast<std::size_t>(stride));
    for (std::int64_t i = 0; i < n; ++i) {
        std::copy(r + i * stride, r + (i + 1) * stride, sum.begin());
        for (std::int64_t e = start[i]; e < start[i + 1] && source[e] < i; ++e)  // ascending within a row
            multiply<D>(weight + e * size, y + source[e] * stride, sum.data(), shape, -1.0, true);
        multiply<D>(inverse + i * size, sum.data(), y + i * stride, shape, 1.0, false);
    }
    for (std::int64_t i = n; i-- > 0;) {
        std::fill(sum.begin(), sum.end(), 0.0);
        for (std::int64_t e = start[i + 1]; e-- > start[i] && source[e] > i;)
            multiply<D>(weight + e * size, y + source[e] * stride, sum.data(), shape, 1.0, true);
        multiply<D>(inverse + i * size, sum.data(), y + i * stride, shape, -1.0, true);
    }
}

// ratio[e] = A_ki P_{i\k}⁻¹ for the edge e from k to i: i's message to k is -ratio times its cavity potential.
template <int D>
void sweep_potentials(const Pattern &edges, const double *ratio, const double *b, double *potential,
                      const Shape &shape) {
    const std::int64_t *start = edges.start, *reverse = edges.reverse;
    const std::int64_t n = edges.n, d = size_of<D>(shape.d), size = d * d, stride = d * shape.columns;
    std::vector<double> belief(static_cast<std::size_t>(stride)), cavity(static_cast<std::size_t>(stride));
    for (std::int64_t i = 0; i < n; ++i) {
        std::copy(b + i * stride, b + (i + 1) * stride, belief.begin());
        for (std::int64_t e = start[i]; e < start[i + 1]; ++e)
            for (std::int64_t c = 0; c < stride; ++c) belief[c] += potential[e * stride + c];
        for (std::int64_t e = start[i]; e < start[i + 1]; ++e) {
            for (std::int64_t c = 0; c < stride; ++c) cavity[c] = belief[c] - potential[e * stride + c];
            multiply<D>(ratio + e * size, cavity.data(), potential + reverse[e] * stride, shape, -1.0, false);
        }
    }
}

template <class Run>
auto by_size(std::int64_t d, Run run) {
    switch (d) {
        case 2: return run(std::integral_constant<int, 2>());
        case 3: return run(std::integral_constant<int, 3>());
        case 6: return run(std::integral_constant<int, 6>());
        default: return run(std::integral_constant<int, 0>());
    }
}

}  // namespace

void bind_block(nb::module_ &m) {
    m.def("block_pivots", [](ConstCubes diagonal, ConstCubes weight, Offsets start, Nodes source, Offsets reverse,
                             bool symmetric, Cubes inverse) {
        const std::int64_t n = static_cast<std::int64_t>(diagonal.shape(0));
        const std::int64_t d = static_cast<std::int64_t>(diagonal.shape(1));
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
        require(weight.shape(0) == source.shape(0) && weight.shape(0) == reverse.shape(0), "one block per edge");
        nb::gil_scoped_release release;
        return by_size(d, [&](auto D) {
            return pivots<D.value>({start.data(), source.data(), n, reverse.data()}, weight.data(), diagonal.data(),
                                   symmetric, inverse.data(), d);
        });
    });
    m.def("block_elimination_sweep", [](ConstCubes weight, Offsets start, Nodes source, ConstCubes inverse,
                                        ConstCubes r, Cubes y) {
        const std::int64_t n = static_cast<std::int64_t>(inverse.shape(0));
        const std::int64_t d = static_cast<std::int64_t>(inverse.shape(1));
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
        require(static_cast<std::int64_t>(r.shape(0)) == n && static_cast<std::int64_t>(r.shape(1)) == d &&
                    r.shape(0) == y.shape(0) && r.shape(1) == y.shape(1) && r.shape(2) == y.shape(2),
                "r and y must be (N, d, k)");
        nb::gil_scoped_release release;
        by_size(d, [&](auto D) {
            sweep<D.value>({start.data(), source.data(), n}, weight.data(), inverse.data(), r.data(), y.data(),
                           {d, static_cast<std::int64_t>(r.shape(2))});
            return 0;
        });
    });
    m.def("block_sequential_potentials", [](Offsets start, Offsets reverse, ConstCubes ratio, ConstCubes b,
                                            Cubes potential, std::int64_t sweeps) {
        const std::int64_t n = static_cast<std::int64_t>(b.shape(0));
        const std::int64_t d = static_cast<std::int64_t>(b.shape(1));
        require(static_cast<std::int64_t>(start.shape(0)) == n + 1, "start must have n + 1 entries");
        require(ratio.shape(0) == reverse.shape(0) && ratio.shape(0) == potential.shape(0), "one block per edge");
        require(static_cast<std::int64_t>(ratio.shape(1)) == d && ratio.shape(2) == ratio.shape(1) &&
                    potential.shape(1) == b.shape(1) && potential.shape(2) == b.shape(2),
                "ratio must be (m, d, d), b (N, d, k) and potential (m, d, k)");
        nb::gil_scoped_release release;
        by_size(d, [&](auto D) {
            for (std::int64_t s = 0; s < sweeps; ++s)
                sweep_potentials<D.value>({start.data(), nullptr, n, reverse.data()}, ratio.data(), b.data(),
                                          potential.data(), {d, static_cast<std::int64_t>(b.shape(2))});
            return 0;
        });
    });
}

}  // namespace gabp
