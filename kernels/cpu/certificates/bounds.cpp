// Passes over directed edges for certificates of convergence; kernels/torch/bounds.py states each of them.
#include "common/pool.hpp"
#include "bindings/tensors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nanobind/stl/tuple.h>
#include <tuple>
#include <vector>

namespace gabp {
namespace {

constexpr std::int64_t grain = 1 << 12;  // rows of one chunk
constexpr double roundoff = 0x1p-53;
constexpr double infinity = std::numeric_limits<double>::infinity();

template <class... Vectors>
void require_length(std::int64_t length, const Vectors &...vectors) {
    require(((static_cast<std::int64_t>(vectors.shape(0)) == length) && ...), "arrays of unequal length");
}

// Compensated summation (Neumaier 1974).
struct Sum {
    double total = 0, rest = 0;
    void add(double term) {
        const double sum = total + term;
        rest += std::abs(total) >= std::abs(term) ? (total - sum) + term : (term - sum) + total;
        total = sum;
    }
    double value() const { return total + rest; }
};

// Visits the rows in parallel chunks, each with a value of its own; returns these values in order.
template <class Value, class Visit>
std::vector<Value> each_row(const Pattern &edges, int threads, const Visit &visit) {
    std::vector<Value> values(static_cast<std::size_t>((edges.n + grain - 1) / grain));
    for_ranges(threads, edges.n, grain, [&](std::int64_t first, std::int64_t last) {
        Value value{};
        for (std::int64_t i = first; i < last; ++i) visit(i, value);
        values[static_cast<std::size_t>(first / grain)] = value;
    });
    return values;
}

struct Nothing {};

void multiply(const Pattern &edges, const double *weight, const double *x, double *out, int threads) {
    each_row<Nothing>(edges, threads, [&](std::int64_t i, Nothing &) {
        double sum = 0;
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) sum += weight[e] * x[edges.source[e]];
        out[i] = sum;
    });
}

struct Quotients {
    double upper = 0, smallest = infinity;
    Sum numerator, denominator;
};

std::tuple<double, double, double, double> quotients(const Pattern &edges, const double *weight, const double *diagonal,
                                                     const double *d, double *product, int threads) {
    const auto parts = each_row<Quotients>(edges, threads, [&](std::int64_t i, Quotients &q) {
        double sum = 0;
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) sum += weight[e] * d[edges.source[e]];
        const double own = diagonal[i] * d[i];
        product[i] = sum;
        q.smallest = std::min(q.smallest, own);
        q.upper = std::max(q.upper, sum / own * (1 + 4.0 * static_cast<double>(edges.degree(i) + 2) * roundoff));
        q.numerator.add(d[i] * sum);
        q.denominator.add(d[i] * own);
    });
    Quotients all;
    for (const Quotients &q : parts) {
        all.upper = std::max(all.upper, q.upper);
        all.smallest = std::min(all.smallest, q.smallest);
        all.numerator.add(q.numerator.value());
        all.denominator.add(q.denominator.value());
    }
    return {all.upper, all.smallest, all.numerator.value(), all.denominator.value()};
}

void gather(const Pattern &edges, const double *message, double *total, int threads) {
    each_row<Nothing>(edges, threads, [&](std::int64_t i, Nothing &) {
        double sum = 0;
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) sum += message[e];
        total[i] = sum;
    });
}

void non_backtracking(const Pattern &edges, const double *ratio, const double *message,
                      const double *base, double *out, int threads) {
    std::vector<double> total(static_cast<std::size_t>(edges.n));
    gather(edges, message, total.data(), threads);
    each_row<Nothing>(edges, threads, [&](std::int64_t i, Nothing &) {
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) {
            const double sum = total[static_cast<std::size_t>(edges.source[e])];
            out[e] = base[e] + ratio[e] * (sum - message[edges.reverse[e]]);
        }
    });
}

double growth(const Pattern &edges, const double *ratio, const double *w, int threads) {
    std::vector<double> total(static_cast<std::size_t>(edges.n));
    gather(edges, w, total.data(), threads);
    const auto parts = each_row<double>(edges, threads, [&](std::int64_t i, double &largest) {
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) {
            if (ratio[e] == 0 || largest == infinity) continue;
            const std::int64_t k = edges.source[e];
            const double sum = total[static_cast<std::size_t>(k)];
            const double incoming = std::max(sum - w[edges.reverse[e]], 0.0);
            const double error = 4.0 * static_cast<double>(edges.degree(k) + 4) * roundoff * sum;
            const double image = ratio[e] * (incoming + error) * (1 + 8 * roundoff);
            const double quotient = w[e] > 0 ? image / w[e] : infinity;
            largest = quotient < infinity ? std::max(largest, quotient) : infinity;  // NaN proves nothing
        }
    });
    return parts.empty() ? 0.0 : *std::max_element(parts.begin(), parts.end());
}

struct Lowest {
    double value = infinity;
};

bool floor_cavities(const Pattern &edges, const double *square, const double *diagonal,
                    const double *floor, double *low, int threads) {
    std::vector<double> belief(static_cast<std::size_t>(edges.n));  // rounded down
    const auto positive = each_row<int>(edges, threads, [&](std::int64_t i, int &bad) {
        double sum = diagonal[i], size = std::abs(diagonal[i]);
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) sum += floor[e], size += std::abs(floor[e]);
        const double lowest = sum - 4.0 * static_cast<double>(edges.degree(i) + 2) * roundoff * size;
        belief[static_cast<std::size_t>(i)] = lowest;
        bad |= !(lowest > 0);
    });
    if (std::any_of(positive.begin(), positive.end(), [](int bad) { return bad; })) return false;
    const auto below = each_row<int>(edges, threads, [&](std::int64_t i, int &bad) {
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) {
            low[e] = belief[static_cast<std::size_t>(edges.source[e])] - floor[edges.reverse[e]];
            bad |= !(low[e] > 0 && -square[e] / low[e] * (1 + 8 * roundoff) >= floor[e]);
        }
    });
    return std::none_of(below.begin(), below.end(), [](int bad) { return bad; });
}

// One sweep of the precision messages, rounded up; the lowest of all beliefs and cavities, which are rounded up too.
double ceiling_sweep(const Pattern &edges, const double *square, const double *diagonal,
                     const double *message, double *out, int threads) {
    std::vector<double> belief(static_cast<std::size_t>(edges.n));
    const auto beliefs = each_row<Lowest>(edges, threads, [&](std::int64_t i, Lowest &lowest) {
        double sum = diagonal[i], size = std::abs(diagonal[i]);
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e)
            sum += message[e], size += std::abs(message[e]);
        const double highest = sum + 4.0 * static_cast<double>(edges.degree(i) + 2) * roundoff * size;
        belief[static_cast<std::size_t>(i)] = highest;
        lowest.value = std::min(lowest.value, highest);
    });
    const auto cavities = each_row<Lowest>(edges, threads, [&](std::int64_t i, Lowest &lowest) {
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) {
            const double cavity = belief[static_cast<std::size_t>(edges.source[e])] - message[edges.reverse[e]];
            out[e] = -square[e] / cavity * (1 - 8 * roundoff);
            lowest.value = std::min(lowest.value, cavity);
        }
    });
    double lowest = infinity;
    for (const Lowest &part : beliefs) lowest = std::min(lowest, part.value);
    for (const Lowest &part : cavities) lowest = std::min(lowest, part.value);
    return lowest;
}

// The messages of the comparison model that belong to positive means x.
void comparison_messages(const Pattern &edges, const double *weight, const double *ratio, const double *x, double *out,
                         int threads) {
    each_row<Nothing>(edges, threads, [&](std::int64_t i, Nothing &) {
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e)
            out[e] = weight[e] * (x[edges.source[e]] - ratio[e] * x[i]);
    });
}

struct Form {
    Sum sum;
    double pole = 0;
};

std::tuple<double, double> bethe_form(const Pattern &edges, const double *ratio, const double *root, const double *y,
                                      double radius, int threads) {
    const auto parts = each_row<Form>(edges, threads, [&](std::int64_t i, Form &form) {
        double row = 0;
        for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) {
            const std::int32_t k = edges.source[e];
            const double g = -ratio[e] * root[k] / root[i];
            form.pole = std::max(form.pole, std::abs(g));
            row += g * (g * y[i] + radius * y[k]) / (radius * radius - g * g);
        }
        form.sum.add(y[i] * row);
    });
    Form all;
    for (const Form &part : parts) {
        all.sum.add(part.sum.value());
        all.pole = std::max(all.pole, part.pole);
    }
    return {all.sum.value(), all.pole};
}

void peel_leaves(const Pattern &edges, std::uint8_t *kept) {
    std::vector<std::int64_t> degree(static_cast<std::size_t>(edges.n));
    std::vector<std::int32_t> leaves;
    const auto check = [&](std::int64_t i) {
        if (!kept[i] || degree[static_cast<std::size_t>(i)] > 1) return;
        kept[i] = 0;
        leaves.push_back(static_cast<std::int32_t>(i));
    };
    for (std::int64_t i = 0; i < edges.n; ++i) {
        kept[i] = 1;
        degree[static_cast<std::size_t>(i)] = edges.degree(i);
    }
    for (std::int64_t i = 0; i < edges.n; ++i) check(i);
    while (!leaves.empty()) {
        const std::int32_t leaf = leaves.back();
        leaves.pop_back();
        for (std::int64_t e = edges.start[leaf]; e < edges.start[leaf + 1]; ++e) {
            const std::int32_t k = edges.source[e];
            --degree[static_cast<std::size_t>(k)];
            check(k);
        }
    }
}

// Breadth first through every component; the signs of its neighbours follow from those of its first node.
bool components_and_signs(const Pattern &edges, const double *weight, std::int32_t *label, double *sign) {
    std::fill_n(label, edges.n, -1);
    std::vector<std::int32_t> queue(static_cast<std::size_t>(edges.n));
    std::int32_t components = 0;
    bool balanced = true;
    for (std::int64_t root = 0; root < edges.n; ++root) {
        if (label[root] >= 0) continue;
        std::size_t head = 0, tail = 0;
        queue[tail++] = static_cast<std::int32_t>(root);
        label[root] = components;
        sign[root] = 1;
        while (head < tail) {
            const std::int32_t i = queue[head++];
            for (std::int64_t e = edges.start[i]; e < edges.start[i + 1]; ++e) {
                const std::int32_t k = edges.source[e];
                const double expected = weight[e] > 0 ? -sign[i] : sign[i];
                if (label[k] < 0) {
                    label[k] = components;
                    sign[k] = expected;
                    queue[tail++] = k;
                } else {
                    balanced &= sign[k] == expected;
                }
            }
        }
        ++components;
    }
    return balanced;
}

}  // namespace

void bind_bounds(nb::module_ &m) {
    using Numbers = Vector<const double>;
    m.def("multiply", [](Offsets start, Nodes source, Numbers weight, Numbers x, Vector<double> out, int threads) {
        const Pattern edges = pattern_of(start, source);
        require_length(edges.n, x, out);
        require_length(edges.count(), weight);
        nb::gil_scoped_release release;
        multiply(edges, weight.data(), x.data(), out.data(), threads);
    });
    m.def("quotients", [](Offsets start, Nodes source, Numbers weight, Numbers diagonal, Numbers d,
                          Vector<double> product, int threads) {
        const Pattern edges = pattern_of(start, source);
        require_length(edges.n, diagonal, d, product);
        require_length(edges.count(), weight);
        nb::gil_scoped_release release;
        return quotients(edges, weight.data(), diagonal.data(), d.data(), product.data(), threads);
    });
    m.def("non_backtracking", [](Offsets start, Nodes source, Offsets reverse, Numbers ratio, Numbers message,
                                 Numbers base, Vector<double> out, int threads) {
        const Pattern edges = pattern_of(start, source, reverse);
        require_length(edges.count(), ratio, message, base, out);
        nb::gil_scoped_release release;
        non_backtracking(edges, ratio.data(), message.data(), base.data(), out.data(), threads);
    });
    m.def("growth", [](Offsets start, Nodes source, Offsets reverse, Numbers ratio, Numbers w, int threads) {
        const Pattern edges = pattern_of(start, source, reverse);
        require_length(edges.count(), ratio, w);
        nb::gil_scoped_release release;
        return growth(edges, ratio.data(), w.data(), threads);
    });
    const auto cavity_pass = [](auto pass) {
        return [pass](Offsets start, Nodes source, Offsets reverse, Numbers square, Numbers diagonal, Numbers message,
                      Vector<double> out, int threads) {
            const Pattern edges = pattern_of(start, source, reverse);
            require_length(edges.n, diagonal);
            require_length(edges.count(), square, message, out);
            nb::gil_scoped_release release;
            return pass(edges, square.data(), diagonal.data(), message.data(), out.data(), threads);
        };
    };
    m.def("floor_cavities", cavity_pass(floor_cavities));
    m.def("ceiling_sweep", cavity_pass(ceiling_sweep));
    m.def("comparison_messages", [](Offsets start, Nodes source, Numbers weight, Numbers ratio, Numbers x,
                                    Vector<double> out, int threads) {
        const Pattern edges = pattern_of(start, source);
        require_length(edges.n, x);
        require_length(edges.count(), weight, ratio, out);
        nb::gil_scoped_release release;
        comparison_messages(edges, weight.data(), ratio.data(), x.data(), out.data(), threads);
    });
    m.def("bethe_form", [](Offsets start, Nodes source, Numbers ratio, Numbers root, Numbers y, double radius,
                           int threads) {
        const Pattern edges = pattern_of(start, source);
        require_length(edges.n, root, y);
        require_length(edges.count(), ratio);
        nb::gil_scoped_release release;
        return bethe_form(edges, ratio.data(), root.data(), y.data(), radius, threads);
    });
    m.def("peel_leaves", [](Offsets start, Nodes source, Vector<std::uint8_t> kept) {
        const Pattern edges = pattern_of(start, source);
        require_length(edges.n, kept);
        nb::gil_scoped_release release;
        peel_leaves(edges, kept.data());
    });
    m.def("components_and_signs", [](Offsets start, Nodes source, Numbers weight, Vector<std::int32_t> label,
                                     Vector<double> sign) {
        const Pattern edges = pattern_of(start, source);
        require_length(edges.n, label, sign);
        require_length(edges.count(), weight);
        nb::gil_scoped_release release;
        return components_and_signs(edges, weight.data(), label.data(), sign.data());
    });
}

}  // namespace gabp
