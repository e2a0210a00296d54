// The passes over a model's slots that proofs of convergence are made of; kernels/torch/bounds.py states each of them.
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

constexpr std::int64_t kGrain = 1 << 12;  // rows of one chunk
constexpr double kRoundoff = 0x1p-53;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Slots {
    const std::int64_t *start;
    const std::int32_t *source;
    std::int64_t n;

    std::int64_t degree(std::int64_t i) const { return start[i + 1] - start[i]; }
};

Slots slots_of(const Offsets &start, const Nodes &source) {
    require(start.shape(0) >= 1, "start must have n + 1 entries");
    const auto n = static_cast<std::int64_t>(start.shape(0)) - 1;
    require(start.data()[n] == static_cast<std::int64_t>(source.shape(0)), "start must end at the number of slots");
    return {start.data(), source.data(), n};
}

template <class... Vectors>
void require_length(std::int64_t length, const Vectors &...vectors) {
    require(((static_cast<std::int64_t>(vectors.shape(0)) == length) && ...), "arrays of unequal length");
}

// A sum whose error does not grow with its terms (Neumaier 1974).
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
std::vector<Value> each_row(const Slots &slots, int threads, const Visit &visit) {
    std::vector<Value> values(static_cast<std::size_t>((slots.n + kGrain - 1) / kGrain));
    for_ranges(threads, slots.n, kGrain, [&](std::int64_t first, std::int64_t last) {
        Value value{};
        for (std::int64_t i = first; i < last; ++i) visit(i, value);
        values[static_cast<std::size_t>(first / kGrain)] = value;
    });
    return values;
}

struct Nothing {};

void multiply(const Slots &slots, const double *weight, const double *x, double *out, int threads) {
    each_row<Nothing>(slots, threads, [&](std::int64_t i, Nothing &) {
        double sum = 0;
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) sum += weight[e] * x[slots.source[e]];
        out[i] = sum;
    });
}

struct Quotients {
    double upper = 0, smallest = kInfinity;
    Sum numerator, denominator;
};

std::tuple<double, double, double, double> quotients(const Slots &slots, const double *weight, const double *diagonal,
                                                     const double *d, double *pull, int threads) {
    const auto parts = each_row<Quotients>(slots, threads, [&](std::int64_t i, Quotients &q) {
        double sum = 0;
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) sum += weight[e] * d[slots.source[e]];
        const double own = diagonal[i] * d[i];
        pull[i] = sum;
        q.smallest = std::min(q.smallest, own);
        q.upper = std::max(q.upper, sum / own * (1 + 4.0 * static_cast<double>(slots.degree(i) + 2) * kRoundoff));
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

void gather(const Slots &slots, const double *message, double *total, int threads) {
    each_row<Nothing>(slots, threads, [&](std::int64_t i, Nothing &) {
        double sum = 0;
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) sum += message[e];
        total[i] = sum;
    });
}

void non_backtracking(const Slots &slots, const std::int64_t *reverse, const double *ratio, const double *message,
                      const double *base, double *out, int threads) {
    std::vector<double> total(static_cast<std::size_t>(slots.n));
    gather(slots, message, total.data(), threads);
    each_row<Nothing>(slots, threads, [&](std::int64_t i, Nothing &) {
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e)
            out[e] = base[e] + ratio[e] * (total[static_cast<std::size_t>(slots.source[e])] - message[reverse[e]]);
    });
}

double growth(const Slots &slots, const std::int64_t *reverse, const double *ratio, const double *w, int threads) {
    std::vector<double> total(static_cast<std::size_t>(slots.n));
    gather(slots, w, total.data(), threads);
    const auto parts = each_row<double>(slots, threads, [&](std::int64_t i, double &most) {
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) {
            if (ratio[e] == 0 || most == kInfinity) continue;
            const std::int64_t k = slots.source[e];
            const double sum = total[static_cast<std::size_t>(k)];
            const double heard = std::max(sum - w[reverse[e]], 0.0);
            const double doubt = 4.0 * static_cast<double>(slots.degree(k) + 4) * kRoundoff * sum;
            const double image = ratio[e] * (heard + doubt) * (1 + 8 * kRoundoff);
            const double quotient = w[e] > 0 ? image / w[e] : kInfinity;
            most = quotient < kInfinity ? std::max(most, quotient) : kInfinity;  // NaN proves nothing either
        }
    });
    return parts.empty() ? 0.0 : *std::max_element(parts.begin(), parts.end());
}

struct Lowest {
    double value = kInfinity;
};

bool floor_cavities(const Slots &slots, const std::int64_t *reverse, const double *square, const double *diagonal,
                    const double *floor, double *low, int threads) {
    std::vector<double> belief(static_cast<std::size_t>(slots.n));  // rounded down
    const auto positive = each_row<int>(slots, threads, [&](std::int64_t i, int &bad) {
        double sum = diagonal[i], size = std::abs(diagonal[i]);
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) sum += floor[e], size += std::abs(floor[e]);
        const double lowest = sum - 4.0 * static_cast<double>(slots.degree(i) + 2) * kRoundoff * size;
        belief[static_cast<std::size_t>(i)] = lowest;
        bad |= !(lowest > 0);
    });
    if (std::any_of(positive.begin(), positive.end(), [](int bad) { return bad; })) return false;
    const auto below = each_row<int>(slots, threads, [&](std::int64_t i, int &bad) {
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) {
            low[e] = belief[static_cast<std::size_t>(slots.source[e])] - floor[reverse[e]];
            bad |= !(low[e] > 0 && -square[e] / low[e] * (1 + 8 * kRoundoff) >= floor[e]);
        }
    });
    return std::none_of(below.begin(), below.end(), [](int bad) { return bad; });
}

// One sweep of the precision messages, rounded up; the lowest of all beliefs and cavities, which are rounded up too.
double ceiling_sweep(const Slots &slots, const std::int64_t *reverse, const double *square, const double *diagonal,
                     const double *message, double *out, int threads) {
    std::vector<double> belief(static_cast<std::size_t>(slots.n));
    const auto beliefs = each_row<Lowest>(slots, threads, [&](std::int64_t i, Lowest &lowest) {
        double sum = diagonal[i], size = std::abs(diagonal[i]);
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e)
            sum += message[e], size += std::abs(message[e]);
        const double highest = sum + 4.0 * static_cast<double>(slots.degree(i) + 2) * kRoundoff * size;
        belief[static_cast<std::size_t>(i)] = highest;
        lowest.value = std::min(lowest.value, highest);
    });
    const auto cavities = each_row<Lowest>(slots, threads, [&](std::int64_t i, Lowest &lowest) {
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) {
            const double cavity = belief[static_cast<std::size_t>(slots.source[e])] - message[reverse[e]];
            out[e] = -square[e] / cavity * (1 - 8 * kRoundoff);
            lowest.value = std::min(lowest.value, cavity);
        }
    });
    double lowest = kInfinity;
    for (const Lowest &part : beliefs) lowest = std::min(lowest, part.value);
    for (const Lowest &part : cavities) lowest = std::min(lowest, part.value);
    return lowest;
}

// What positive means x say about the messages of the comparison model.
void comparison_messages(const Slots &slots, const double *weight, const double *ratio, const double *x, double *out,
                         int threads) {
    each_row<Nothing>(slots, threads, [&](std::int64_t i, Nothing &) {
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e)
            out[e] = weight[e] * (x[slots.source[e]] - ratio[e] * x[i]);
    });
}

struct Form {
    Sum sum;
    double pole = 0;
};

std::tuple<double, double> bethe_form(const Slots &slots, const double *ratio, const double *root, const double *y,
                                      double radius, int threads) {
    const auto parts = each_row<Form>(slots, threads, [&](std::int64_t i, Form &form) {
        double row = 0;
        for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) {
            const std::int32_t k = slots.source[e];
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

void peel_leaves(const Slots &slots, std::uint8_t *kept) {
    std::vector<std::int64_t> degree(static_cast<std::size_t>(slots.n));
    std::vector<std::int32_t> leaves;
    const auto look = [&](std::int64_t i) {
        if (kept[i] && degree[static_cast<std::size_t>(i)] <= 1) kept[i] = 0, leaves.push_back(static_cast<std::int32_t>(i));
    };
    for (std::int64_t i = 0; i < slots.n; ++i) {
        kept[i] = 1;
        degree[static_cast<std::size_t>(i)] = slots.degree(i);
    }
    for (std::int64_t i = 0; i < slots.n; ++i) look(i);
    while (!leaves.empty()) {
        const std::int32_t leaf = leaves.back();
        leaves.pop_back();
        for (std::int64_t e = slots.start[leaf]; e < slots.start[leaf + 1]; ++e) {
            const std::int32_t k = slots.source[e];
            --degree[static_cast<std::size_t>(k)];
            look(k);
        }
    }
}

// Breadth first through every component; the signs of its neighbours follow from those of its first node.
bool components_and_signs(const Slots &slots, const double *weight, std::int32_t *label, double *sign) {
    std::fill_n(label, slots.n, -1);
    std::vector<std::int32_t> queue(static_cast<std::size_t>(slots.n));
    std::int32_t components = 0;
    bool balanced = true;
    for (std::int64_t root = 0; root < slots.n; ++root) {
        if (label[root] >= 0) continue;
        std::size_t head = 0, tail = 0;
        queue[tail++] = static_cast<std::int32_t>(root);
        label[root] = components;
        sign[root] = 1;
        while (head < tail) {
            const std::int32_t i = queue[head++];
            for (std::int64_t e = slots.start[i]; e < slots.start[i + 1]; ++e) {
                const std::int32_t k = slots.source[e];
                const double wanted = weight[e] > 0 ? -sign[i] : sign[i];
                if (label[k] < 0) {
                    label[k] = components;
                    sign[k] = wanted;
                    queue[tail++] = k;
                } else {
                    balanced &= sign[k] == wanted;
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
        const Slots slots = slots_of(start, source);
        require_length(slots.n, x, out);
        require_length(slots.start[slots.n], weight);
        nb::gil_scoped_release release;
        multiply(slots, weight.data(), x.data(), out.data(), threads);
    });
    m.def("quotients", [](Offsets start, Nodes source, Numbers weight, Numbers diagonal, Numbers d,
                          Vector<double> pull, int threads) {
        const Slots slots = slots_of(start, source);
        require_length(slots.n, diagonal, d, pull);
        require_length(slots.start[slots.n], weight);
        nb::gil_scoped_release release;
        return quotients(slots, weight.data(), diagonal.data(), d.data(), pull.data(), threads);
    });
    m.def("non_backtracking", [](Offsets start, Nodes source, Offsets reverse, Numbers ratio, Numbers message,
                                 Numbers base, Vector<double> out, int threads) {
        const Slots slots = slots_of(start, source);
        require_length(slots.start[slots.n], reverse, ratio, message, base, out);
        nb::gil_scoped_release release;
        non_backtracking(slots, reverse.data(), ratio.data(), message.data(), base.data(), out.data(), threads);
    });
    m.def("growth", [](Offsets start, Nodes source, Offsets reverse, Numbers ratio, Numbers w, int threads) {
        const Slots slots = slots_of(start, source);
        require_length(slots.start[slots.n], reverse, ratio, w);
        nb::gil_scoped_release release;
        return growth(slots, reverse.data(), ratio.data(), w.data(), threads);
    });
    m.def("floor_cavities", [](Offsets start, Nodes source, Offsets reverse, Numbers square, Numbers diagonal,
                               Numbers floor, Vector<double> low, int threads) {
        const Slots slots = slots_of(start, source);
        require_length(slots.n, diagonal);
        require_length(slots.start[slots.n], reverse, square, floor, low);
        nb::gil_scoped_release release;
        return floor_cavities(slots, reverse.data(), square.data(), diagonal.data(), floor.data(), low.data(),
                              threads);
    });
    m.def("ceiling_sweep", [](Offsets start, Nodes source, Offsets reverse, Numbers square, Numbers diagonal,
                              Numbers message, Vector<double> out, int threads) {
        const Slots slots = slots_of(start, source);
        require_length(slots.n, diagonal);
        require_length(slots.start[slots.n], reverse, square, message, out);
        nb::gil_scoped_release release;
        return ceiling_sweep(slots, reverse.data(), square.data(), diagonal.data(), message.data(), out.data(),
                             threads);
    });
    m.def("comparison_messages", [](Offsets start, Nodes source, Numbers weight, Numbers ratio, Numbers x,
                                    Vector<double> out, int threads) {
        const Slots slots = slots_of(start, source);
        require_length(slots.n, x);
        require_length(slots.start[slots.n], weight, ratio, out);
        nb::gil_scoped_release release;
        comparison_messages(slots, weight.data(), ratio.data(), x.data(), out.data(), threads);
    });
    m.def("bethe_form", [](Offsets start, Nodes source, Numbers ratio, Numbers root, Numbers y, double radius,
                           int threads) {
        const Slots slots = slots_of(start, source);
        require_length(slots.n, root, y);
        require_length(slots.start[slots.n], ratio);
        nb::gil_scoped_release release;
        return bethe_form(slots, ratio.data(), root.data(), y.data(), radius, threads);
    });
    m.def("peel_leaves", [](Offsets start, Nodes source, Vector<std::uint8_t> kept) {
        const Slots slots = slots_of(start, source);
        require_length(slots.n, kept);
        nb::gil_scoped_release release;
        peel_leaves(slots, kept.data());
    });
    m.def("components_and_signs", [](Offsets start, Nodes source, Numbers weight, Vector<std::int32_t> label,
                                     Vector<double> sign) {
        const Slots slots = slots_of(start, source);
        require_length(slots.n, label, sign);
        require_length(slots.start[slots.n], weight);
        nb::gil_scoped_release release;
        return components_and_signs(slots, weight.data(), label.data(), sign.data());
    });
}

}  // namespace gabp
