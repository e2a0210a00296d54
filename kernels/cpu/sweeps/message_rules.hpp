// The message equations in edge-local form, and their traversal of the sliced layout. Included once per instruction
// set; everything here has internal linkage, so that no two instruction sets share a function.
//
// Edge-local form: the message that a row's node sent along an edge is recomputed from the one that it received a sweep
// earlier, so that an edge needs the beliefs of its source but not the reverse edge.
#pragma once

#include "layout/sliced.hpp"
#include "common/vectors.hpp"

#include <cmath>

namespace gabp {
namespace {

// The lanes of a vector are the columns of one row (K > 1) ...
template <class T, int K>
struct Lanes {
    static constexpr int rows = 1, columns = K;
    using Scalar = T;           // one number per row or edge
    using Pack = Vector<T, K>;  // K numbers per row or edge
    static Scalar scalar(const T *p, std::int64_t at) { return p[at]; }
    static Pack pack(const T *p, std::int64_t at) { return Pack::load(p + at * K); }
    static void put_scalar(T *p, std::int64_t at, Scalar v) { p[at] = v; }
    static void put(T *p, std::int64_t at, const Pack &v) { v.store(p + at * K); }
    static Scalar source_scalar(const T *p, const std::int32_t *column) { return p[*column]; }
    static Pack source(const T *p, const std::int32_t *column) { return pack(p, *column); }
    static Scalar same_scalar(const T *p, std::int64_t row) { return p[row]; }
    static Pack same(const T *p, std::int64_t row) { return pack(p, row); }
    static T lane(const Scalar &v, int) { return v; }
    static double fold_scalar(const Scalar &v) { return static_cast<double>(v); }
    static double fold(const Pack &v, int c) { return static_cast<double>(v[c]); }
};

// ... or 8 rows of one column.
template <class T>
struct Lanes<T, 1> {
    static constexpr int rows = lanes, columns = 1;
    using Scalar = Vector<T, lanes>;
    using Pack = Scalar;
    static Pack pack(const T *p, std::int64_t at) { return Pack::load(p + at); }
    static Scalar scalar(const T *p, std::int64_t at) { return pack(p, at); }
    static void put(T *p, std::int64_t at, const Pack &v) { v.store(p + at); }
    static void put_scalar(T *p, std::int64_t at, const Scalar &v) { put(p, at, v); }
    static Pack source(const T *p, const std::int32_t *column) {
        return Pack::gather(p, column, 1);
    }
    static Scalar source_scalar(const T *p, const std::int32_t *column) { return source(p, column); }
    static Pack same(const T *p, std::int64_t row) { return Pack::all(p[row]); }
    static Scalar same_scalar(const T *p, std::int64_t row) { return same(p, row); }
    static T lane(const Scalar &v, int l) { return v[l]; }
    static double fold_scalar(const Scalar &v) {
        double total = 0.0;
        for (int l = 0; l < lanes; ++l) total += static_cast<double>(v[l]);
        return total;
    }
    static double fold(const Pack &v, int) { return fold_scalar(v); }
};

// A rule is one kernel. Row holds what the edges of a row (or of 8 rows) read and add to; begin and finish load and
// store it. The segments of a long row begin from zero sums and are folded to `sums` numbers each; finish_long stores
// the row.

// Rows that collect nothing.
template <class D>
struct NoSums {
    using Data = D;
    static constexpr int sums = 0;
    template <class Row>
    static void finish(const Data &, std::int64_t, const Row &, Report &) {}
    template <class Row>
    static void fold(const Row &, double *) {}
    static void finish_long(const Data &, std::int64_t, const double *, Report &) {}
};

// Rows whose beliefs are their own potentials and the sums of their messages; Rule::own is the belief that the outgoing
// messages are computed from.
template <class Rule, class T, int K, class D>
struct MeanRow {
    using Data = D;
    using L = Lanes<T, K>;
    static constexpr int sums = K;
    struct Row {
        typename L::Pack own, sum;
    };
    static Row begin(const Data &d, std::int64_t i) { return {L::pack(Rule::own(d), i), L::pack(d.unary, i)}; }
    static Row begin_segment(const Data &d, std::int64_t i) { return {L::same(Rule::own(d), i), typename L::Pack{}}; }
    static void finish(const Data &d, std::int64_t i, const Row &row, Report &) { L::put(d.other, i, row.sum); }
    static void fold(const Row &row, double *partial) {
        for (int c = 0; c < K; ++c) partial[c] = L::fold(row.sum, c);
    }
    static void finish_long(const Data &d, std::int64_t i, const double *total, Report &) {
        for (int c = 0; c < K; ++c)
            d.other[i * K + c] = static_cast<T>(static_cast<double>(d.unary[i * K + c]) + total[c]);
    }
};

template <class T, int K, bool first>
struct MeanRule : MeanRow<MeanRule<T, K, first>, T, K, MeanData<T>> {
    using Data = MeanData<T>;
    using L = Lanes<T, K>;
    using Row = typename MeanRow<MeanRule, T, K, Data>::Row;
    static const T *own(const Data &d) { return d.other; }
    static void edge(const Data &d, std::int64_t e, const std::int32_t *column, Row &row) {
        const auto g = L::scalar(d.coefficient, e);
        typename L::Pack message = -row.own;
        if (!first) message += L::pack(d.message, e);
        message = g * (g * message - L::source(d.belief, column));
        L::put(d.message, e, message);
        row.sum += message;
    }
};

template <class T, int K>
struct DampedRule : MeanRow<DampedRule<T, K>, T, K, DampedData<T>> {
    using Data = DampedData<T>;
    using L = Lanes<T, K>;
    using Row = typename MeanRow<DampedRule, T, K, Data>::Row;
    static const T *own(const Data &d) { return d.belief; }
    static void edge(const Data &d, std::int64_t e, const std::int32_t *column, Row &row) {
        const auto fresh = (T(1) - d.damping) * L::scalar(d.coefficient, e);
        const auto incoming = L::pack(d.incoming, e), outgoing = L::pack(d.outgoing, e);
        const typename L::Pack message = d.damping * incoming - fresh * (L::source(d.belief, column) - outgoing);
        L::put(d.incoming, e, message);
        L::put(d.outgoing, e, d.damping * outgoing - fresh * (row.own - incoming));
        row.sum += message;
    }
};

template <class T, int K>
struct ReverseRule : NoSums<ReverseData<T>> {
    using Data = ReverseData<T>;
    using L = Lanes<T, K>;
    struct Row {
        typename L::Pack own;
    };
    static Row begin(const Data &d, std::int64_t i) { return {L::pack(d.belief, i)}; }
    static Row begin_segment(const Data &d, std::int64_t i) { return {L::same(d.belief, i)}; }
    static void edge(const Data &d, std::int64_t e, const std::int32_t *, Row &row) {
        L::put(d.message, e, L::scalar(d.coefficient, e) * (L::pack(d.message, e) - row.own));
    }
};

template <class T, class L>
inline void finish_precision(const PrecisionData<T> &d, std::int64_t i, const typename L::Scalar &sum,
                             Report &report) {
    bool invalid = false;
    for (int l = 0; l < L::rows; ++l) {
        const T belief = L::lane(sum, l);
        const double change = std::abs(static_cast<double>(belief) - static_cast<double>(d.other[i + l])) /
                              static_cast<double>(d.diagonal[i + l]);
        report.change[l] = change > report.change[l] ? change : report.change[l];
        invalid |= !(belief > T(0));
    }
    L::put_scalar(d.other, i, sum);
    if (!invalid) return;
    for (int l = 0; l < L::rows; ++l) {
        if (L::lane(sum, l) > T(0)) continue;
        const std::int64_t node = d.node ? d.node[i + l] : i + l;
        if (report.invalid < 0 || node < report.invalid) report.invalid = node;
    }
}

template <class T>
inline void finish_long_precision(const PrecisionData<T> &d, std::int64_t i, double total, Report &report) {
    const T belief = static_cast<T>(static_cast<double>(d.diagonal[i]) + total);
    finish_precision<T, Lanes<T, 2>>(d, i, belief, report);  // one row
}

// Updates the precision message of edge e; `ratio_out` and `ratio_in` multiply its potential messages:
// -A_ik / P_{i\k} one sweep ago and -A_ik / P_{k\i} now. The cavities of padding are beliefs, which may
// pass through zero.
template <class L, class T>
inline typename L::Scalar update_precision(const PrecisionData<T> &d, std::int64_t e, const std::int32_t *column,
                                           const typename L::Scalar &own, typename L::Scalar &ratio_out,
                                           typename L::Scalar &ratio_in) {
    using Scalar = typename L::Scalar;
    const Scalar weight = L::scalar(d.weight, e);
    ratio_out = -weight / unless_zero(weight, own - L::scalar(d.message, e));
    ratio_in = -weight / unless_zero(weight, L::source_scalar(d.belief, column) - weight * ratio_out);
    const Scalar message = weight * ratio_in;
    L::put_scalar(d.message, e, message);
    return message;
}

// Rows whose precisions are their diagonal and the sums of their messages; Rule::own is as in MeanRow, Rule::precision
// the arrays.
template <class Rule, class T, class D>
struct PrecisionRow {
    using Data = D;
    using L = Lanes<T, 1>;
    static constexpr int sums = 1;
    struct Row {
        typename L::Scalar own, sum;
    };
    static Row begin(const Data &d, std::int64_t i) {
        return {L::scalar(Rule::own(d), i), L::scalar(Rule::precision(d).diagonal, i)};
    }
    static Row begin_segment(const Data &d, std::int64_t i) {
        return {L::same_scalar(Rule::own(d), i), typename L::Scalar{}};
    }
    static void finish(const Data &d, std::int64_t i, const Row &row, Report &report) {
        finish_precision<T, L>(Rule::precision(d), i, row.sum, report);
    }
    static void fold(const Row &row, double *partial) { partial[0] = L::fold_scalar(row.sum); }
    static void finish_long(const Data &d, std::int64_t i, const double *total, Report &report) {
        finish_long_precision(Rule::precision(d), i, total[0], report);
    }
};

template <class T>
struct PrecisionRule : PrecisionRow<PrecisionRule<T>, T, PrecisionData<T>> {
    using Data = PrecisionData<T>;
    using L = Lanes<T, 1>;
    using Row = typename PrecisionRow<PrecisionRule, T, Data>::Row;
    static const Data &precision(const Data &d) { return d; }
    static const T *own(const Data &d) { return d.other; }
    static void edge(const Data &d, std::int64_t e, const std::int32_t *column, Row &row) {
        typename L::Scalar ratio_out, ratio_in;
        row.sum += update_precision<L>(d, e, column, row.own, ratio_out, ratio_in);
    }
};

template <class T>
struct StartRule : PrecisionRow<StartRule<T>, T, StartData<T>> {
    using Data = StartData<T>;
    using L = Lanes<T, 1>;
    using Row = typename PrecisionRow<StartRule, T, Data>::Row;
    static const PrecisionData<T> &precision(const Data &d) { return d.precision; }
    static const T *own(const Data &d) { return d.scale; }
    static void edge(const Data &d, std::int64_t e, const std::int32_t *column, Row &row) {
        const auto weight = magnitude(L::scalar(d.precision.weight, e));
        const typename L::Scalar message = -weight * (L::source_scalar(d.scale, column) / row.own);
        L::put_scalar(d.precision.message, e, message);
        row.sum += message;
    }
};

template <class T, int K>
struct JointRule {
    using Data = JointData<T>;
    using L = Lanes<T, K>;
    static constexpr int sums = 1 + K;
    struct Row {
        typename L::Scalar own_precision, precision;
        typename L::Pack own, sum;
    };
    static Row begin(const Data &d, std::int64_t i) {
        return {L::scalar(d.precision.other, i), L::scalar(d.precision.diagonal, i), L::pack(d.other, i),
                L::pack(d.unary, i)};
    }
    static Row begin_segment(const Data &d, std::int64_t i) {
        return {L::same_scalar(d.precision.other, i), typename L::Scalar{}, L::same(d.other, i), typename L::Pack{}};
    }
    static void edge(const Data &d, std::int64_t e, const std::int32_t *column, Row &row) {
        typename L::Scalar ratio_out, ratio_in;
        row.precision += update_precision<L>(d.precision, e, column, row.own_precision, ratio_out, ratio_in);
        const typename L::Pack outgoing = ratio_out * (row.own - L::pack(d.message, e));
        const typename L::Pack message = ratio_in * (L::source(d.belief, column) - outgoing);
        L::put(d.message, e, message);
        row.sum += message;
    }
    static void finish(const Data &d, std::int64_t i, const Row &row, Report &report) {
        finish_precision<T, L>(d.precision, i, row.precision, report);
        L::put(d.other, i, row.sum);
    }
    static void fold(const Row &row, double *partial) {
        partial[0] = L::fold_scalar(row.precision);
        for (int c = 0; c < K; ++c) partial[1 + c] = L::fold(row.sum, c);
    }
    static void finish_long(const Data &d, std::int64_t i, const double *total, Report &report) {
        finish_long_precision(d.precision, i, total[0], report);
        for (int c = 0; c < K; ++c)
            d.other[i * K + c] = static_cast<T>(static_cast<double>(d.unary[i * K + c]) + total[1 + c]);
    }
};

template <class T>
struct CoefficientRule : NoSums<CoefficientData<T>> {
    using Data = CoefficientData<T>;
    using L = Lanes<T, 1>;
    struct Row {
        typename L::Scalar root;
    };
    static Row begin(const Data &d, std::int64_t i) { return {L::scalar(d.root, i)}; }
    static Row begin_segment(const Data &d, std::int64_t i) { return {L::same_scalar(d.root, i)}; }
    static void edge(const Data &d, std::int64_t e, const std::int32_t *column, Row &row) {
        const typename L::Scalar cavity = row.root * row.root - L::scalar(d.message, e);
        const typename L::Scalar g = L::scalar(d.weight, e) * row.root / (L::source_scalar(d.root, column) * cavity);
        L::put_scalar(d.coefficient, e, g);
    }
};

template <class T, int K>
struct ResidualRule {
    using Data = ResidualData<T>;
    using L = Lanes<double, K>;
    static constexpr int sums = K;
    struct Row {
        typename L::Pack sum;
    };
    static std::int64_t node(const Data &d, std::int64_t i) {
        if (d.node) return d.node[i];
        return i < d.nodes ? i : -1;
    }
    static double unary(const Data &d, std::int64_t i, int c) {
        const std::int64_t at = node(d, i);
        if (at < 0) return 0.0;
        return d.b[at * d.stride + c] - static_cast<double>(d.diagonal[i]) * d.x[i * d.stride + c];
    }
    static Row begin(const Data &d, std::int64_t i) {
        double value[L::rows * K];
        for (int l = 0; l < L::rows; ++l)
            for (int c = 0; c < K; ++c) value[l * K + c] = unary(d, i + l, c);
        return {L::Pack::load(value)};
    }
    static Row begin_segment(const Data &, std::int64_t) { return Row{typename L::Pack{}}; }
    static void edge(const Data &d, std::int64_t e, const std::int32_t *column, Row &row) {
        if constexpr (K == 1) {
            double weight[lanes];
            for (int l = 0; l < lanes; ++l) weight[l] = static_cast<double>(d.weight[e + l]);
            row.sum -= L::Pack::load(weight) * L::Pack::gather(d.x, column, d.stride);
        } else {
            row.sum -= static_cast<double>(d.weight[e]) * L::Pack::load(d.x + *column * d.stride);
        }
    }
    static void write(const Data &d, std::int64_t i, int c, double value, Report &report) {
        const std::int64_t at = node(d, i);
        if (at < 0) return;
        d.r[at * d.stride + c] = value;
        report.square[c] += value * value;
    }
    static void finish(const Data &d, std::int64_t i, const Row &row, Report &report) {
        for (int l = 0; l < L::rows; ++l)
            for (int c = 0; c < K; ++c) write(d, i + l, c, row.sum[l * K + c], report);
    }
    static void fold(const Row &row, double *partial) {
        for (int c = 0; c < K; ++c) partial[c] = L::fold(row.sum, c);
    }
    static void finish_long(const Data &d, std::int64_t i, const double *total, Report &report) {
        for (int c = 0; c < K; ++c) write(d, i, c, unary(d, i, c) + total[c], report);
    }
};

template <class R>
void traverse_slices(const Layout &layout, const void *data, std::int64_t first, std::int64_t last,
                     Report &report) {
    const auto d = *static_cast<const typename R::Data *>(data);
    constexpr int rows = R::L::rows;
    for (std::int64_t s = first; s < last; ++s) {
        const std::int64_t begin = layout.slice_start[s], end = layout.slice_start[s + 1];
        for (int lane = 0; lane < lanes; lane += rows) {
            auto row = R::begin(d, s * lanes + lane);
            for (std::int64_t e = begin + lane; e < end; e += lanes) R::edge(d, e, layout.column + e, row);
            R::finish(d, s * lanes + lane, row, report);
        }
    }
}

template <class R>
void traverse_segment(const Layout &layout, const void *data, std::int64_t segment, double *partial) {
    const auto d = *static_cast<const typename R::Data *>(data);
    auto row = R::begin_segment(d, layout.segment_row[segment]);
    for (std::int64_t e = layout.segment[segment]; e < layout.segment[segment + 1]; e += R::L::rows)
        R::edge(d, e, layout.column + e, row);
    R::fold(row, partial);
}

// A long row's sums, in the order of its segments.
template <class R>
void finish_long_row(const Layout &layout, const void *data, std::int64_t row, const double *partial,
                     Report &report) {
    double total[partials] = {};
    for (std::int64_t s = layout.row_segment[row]; s < layout.row_segment[row + 1]; ++s)
        for (int v = 0; v < R::sums; ++v) total[v] += partial[s * partials + v];
    R::finish_long(*static_cast<const typename R::Data *>(data), layout.slices * lanes + row, total, report);
}

template <class R>
constexpr Kernel kernel() {
    return {traverse_slices<R>, traverse_segment<R>, finish_long_row<R>};
}

template <class T, int panel>
constexpr void add_panel(Kernels<T> &k) {
    constexpr int K = 1 << panel;
    k.mean[panel] = kernel<MeanRule<T, K, false>>();
    k.first_mean[panel] = kernel<MeanRule<T, K, true>>();
    k.damped[panel] = kernel<DampedRule<T, K>>();
    k.reverse[panel] = kernel<ReverseRule<T, K>>();
    k.joint[panel] = kernel<JointRule<T, K>>();
    k.residual[panel] = kernel<ResidualRule<T, K>>();
}

template <class T>
constexpr Kernels<T> make_kernels() {
    static_assert(panels == 4, "one line for each panel");
    Kernels<T> k{};
    add_panel<T, 0>(k);
    add_panel<T, 1>(k);
    add_panel<T, 2>(k);
    add_panel<T, 3>(k);
    k.start = kernel<StartRule<T>>();
    k.precision = kernel<PrecisionRule<T>>();
    k.coefficient = kernel<CoefficientRule<T>>();
    return k;
}

constexpr Kernels<float> kernels_float = make_kernels<float>();
constexpr Kernels<double> kernels_double = make_kernels<double>();

}  // namespace
}  // namespace gabp
