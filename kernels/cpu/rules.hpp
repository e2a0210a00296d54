// The message equations in edge-local form, and their traversal of the sliced layout. Included once per
// processor level; everything here has internal linkage, so that no two levels share a function.
//
// Edge-local form: what a row's node sent over an edge is recomputed from what it heard one sweep earlier,
// so that a slot never needs the slot of the reverse edge, only the beliefs of its source.
#pragma once

#include "sliced.hpp"

#include <cmath>

namespace gabp {
namespace {

// A rule names, for one kernel: `owns` values of the row's node that its slots read, `sums` values that its
// slots add to, and the loops' parts: own, unary (where a sum starts), slot, finish. W rows are worked on
// side by side (8 with one right-hand side; 1 with several, where the columns fill the vector).

template <class T, int K, bool first>
struct MeanRule {
    using Number = T;
    using Data = MeanData<T>;
    static constexpr int owns = K, sums = K;
    static T own(const Data &d, std::int64_t i, int c) { return d.other[i * K + c]; }
    static T unary(const Data &d, std::int64_t i, int c) { return d.unary[i * K + c]; }
    template <int W>
    static void slot(const Data &d, std::int64_t e, std::int64_t k, int l, const T (&own)[K][W], T (&sum)[K][W]) {
        const T g = d.coefficient[e];
        for (int c = 0; c < K; ++c) {
            const T before = first ? T(0) : d.message[e * K + c];
            const T message = g * (g * (before - own[c][l]) - d.belief[k * K + c]);
            d.message[e * K + c] = message;
            sum[c][l] += message;
        }
    }
    template <int W>
    static void finish(const Data &d, std::int64_t i, const T (&)[K][W], const T (&sum)[K][W], Report &) {
        for (int c = 0; c < K; ++c)
            for (int l = 0; l < W; ++l) d.other[(i + l) * K + c] = sum[c][l];
    }
};

template <class T, int K>
struct DampedRule {
    using Number = T;
    using Data = DampedData<T>;
    static constexpr int owns = K, sums = K;
    static T own(const Data &d, std::int64_t i, int c) { return d.belief[i * K + c]; }
    static T unary(const Data &d, std::int64_t i, int c) { return d.unary[i * K + c]; }
    template <int W>
    static void slot(const Data &d, std::int64_t e, std::int64_t k, int l, const T (&own)[K][W], T (&sum)[K][W]) {
        const T g = d.coefficient[e];
        const T fresh = (T(1) - d.damping) * g;
        for (int c = 0; c < K; ++c) {
            const T heard = d.heard[e * K + c];
            const T sent = d.sent[e * K + c];
            const T message = d.damping * heard - fresh * (d.belief[k * K + c] - sent);
            d.heard[e * K + c] = message;
            d.sent[e * K + c] = d.damping * sent - fresh * (own[c][l] - heard);
            sum[c][l] += message;
        }
    }
    template <int W>
    static void finish(const Data &d, std::int64_t i, const T (&)[K][W], const T (&sum)[K][W], Report &) {
        for (int c = 0; c < K; ++c)
            for (int l = 0; l < W; ++l) d.other[(i + l) * K + c] = sum[c][l];
    }
};

template <class T, int K>
struct ReverseRule {
    using Number = T;
    using Data = ReverseData<T>;
    static constexpr int owns = K, sums = 0;
    static T own(const Data &d, std::int64_t i, int c) { return d.belief[i * K + c]; }
    static T unary(const Data &, std::int64_t, int) { return T(0); }
    template <int W>
    static void slot(const Data &d, std::int64_t e, std::int64_t, int l, const T (&own)[K][W], T (&)[1][W]) {
        for (int c = 0; c < K; ++c)
            d.message[e * K + c] = -d.coefficient[e] * (own[c][l] - d.message[e * K + c]);
    }
    template <int W>
    static void finish(const Data &, std::int64_t, const T (&)[K][W], const T (&)[1][W], Report &) {}
};

// The precision message of the slot e, updated in place; `ratio_out` and `ratio_in` carry its potential:
// -A_ik / P_{i\k} one sweep ago and -A_ik / P_{k\i} now.
template <class T>
inline T update_precision(const PrecisionData<T> &d, std::int64_t e, std::int64_t k, T own, T &ratio_out,
                          T &ratio_in) {
    const T weight = d.weight[e];
    const bool padding = weight == T(0);  // its cavities are beliefs, which may pass through zero
    ratio_out = -weight / (padding ? T(1) : own - d.message[e]);
    const T sent = weight * ratio_out;
    ratio_in = -weight / (padding ? T(1) : d.belief[k] - sent);
    return d.message[e] = weight * ratio_in;
}

template <class T, int V, int W>
inline void finish_precision(const PrecisionData<T> &d, std::int64_t i, const T (&own)[V][W],
                             const T (&sum)[V][W], Report &report) {
    unsigned invalid = 0;
    for (int l = 0; l < W; ++l) {
        d.other[i + l] = sum[0][l];
        const double change = std::abs(static_cast<double>(sum[0][l]) - static_cast<double>(own[0][l])) /
                              static_cast<double>(d.diagonal[i + l]);
        report.change[l] = change > report.change[l] ? change : report.change[l];
        invalid |= !(sum[0][l] > T(0));
    }
    if (!invalid) return;
    for (int l = 0; l < W; ++l) {
        if (sum[0][l] > T(0)) continue;
        const std::int64_t node = d.node ? d.node[i + l] : i + l;
        if (report.invalid < 0 || node < report.invalid) report.invalid = node;
    }
}

template <class T>
struct PrecisionRule {
    using Number = T;
    using Data = PrecisionData<T>;
    static constexpr int owns = 1, sums = 1;
    static T own(const Data &d, std::int64_t i, int) { return d.other[i]; }
    static T unary(const Data &d, std::int64_t i, int) { return d.diagonal[i]; }
    template <int W>
    static void slot(const Data &d, std::int64_t e, std::int64_t k, int l, const T (&own)[1][W], T (&sum)[1][W]) {
        T ratio_out, ratio_in;
        sum[0][l] += update_precision(d, e, k, own[0][l], ratio_out, ratio_in);
    }
    template <int W>
    static void finish(const Data &d, std::int64_t i, const T (&own)[1][W], const T (&sum)[1][W], Report &report) {
        finish_precision<T, 1, W>(d, i, own, sum, report);
    }
};

template <class T>
struct StartRule {
    using Number = T;
    using Data = StartData<T>;
    static constexpr int owns = 1, sums = 1;
    static T own(const Data &d, std::int64_t i, int) { return d.scale[i]; }
    static T unary(const Data &d, std::int64_t i, int) { return d.precision.diagonal[i]; }
    template <int W>
    static void slot(const Data &d, std::int64_t e, std::int64_t k, int l, const T (&own)[1][W], T (&sum)[1][W]) {
        const T message = -std::abs(d.precision.weight[e]) * (d.scale[k] / own[0][l]);
        d.precision.message[e] = message;
        sum[0][l] += message;
    }
    template <int W>
    static void finish(const Data &d, std::int64_t i, const T (&own)[1][W], const T (&sum)[1][W], Report &report) {
        finish_precision<T, 1, W>(d.precision, i, own, sum, report);
    }
};

template <class T, int K>
struct JointRule {
    using Number = T;
    using Data = JointData<T>;
    static constexpr int owns = 1 + K, sums = 1 + K;
    static T own(const Data &d, std::int64_t i, int v) {
        return v == 0 ? d.precision.other[i] : d.other[i * K + v - 1];
    }
    static T unary(const Data &d, std::int64_t i, int v) {
        return v == 0 ? d.precision.diagonal[i] : d.unary[i * K + v - 1];
    }
    template <int W>
    static void slot(const Data &d, std::int64_t e, std::int64_t k, int l, const T (&own)[1 + K][W],
                     T (&sum)[1 + K][W]) {
        T ratio_out, ratio_in;
        sum[0][l] += update_precision(d.precision, e, k, own[0][l], ratio_out, ratio_in);
        for (int c = 0; c < K; ++c) {
            const T sent = ratio_out * (own[1 + c][l] - d.message[e * K + c]);
            const T message = ratio_in * (d.belief[k * K + c] - sent);
            d.message[e * K + c] = message;
            sum[1 + c][l] += message;
        }
    }
    template <int W>
    static void finish(const Data &d, std::int64_t i, const T (&own)[1 + K][W], const T (&sum)[1 + K][W],
                       Report &report) {
        finish_precision<T, 1 + K, W>(d.precision, i, own, sum, report);
        for (int c = 0; c < K; ++c)
            for (int l = 0; l < W; ++l) d.other[(i + l) * K + c] = sum[1 + c][l];
    }
};

template <class T>
struct CoefficientRule {
    using Number = T;
    using Data = CoefficientData<T>;
    static constexpr int owns = 1, sums = 0;
    static T own(const Data &d, std::int64_t i, int) { return d.root[i]; }
    static T unary(const Data &, std::int64_t, int) { return T(0); }
    template <int W>
    static void slot(const Data &d, std::int64_t e, std::int64_t k, int l, const T (&own)[1][W], T (&)[1][W]) {
        const T root = own[0][l];
        d.message[e] = d.weight[e] * root / (d.root[k] * (root * root - d.message[e]));
    }
    template <int W>
    static void finish(const Data &, std::int64_t, const T (&)[1][W], const T (&)[1][W], Report &) {}
};

template <class T, int K>
struct ResidualRule {
    using Number = double;
    using Data = ResidualData<T>;
    static constexpr int owns = 0, sums = K;
    static std::int64_t node(const Data &d, std::int64_t i) {
        if (d.node) return d.node[i];
        return i < d.nodes ? i : -1;
    }
    static double own(const Data &, std::int64_t, int) { return 0.0; }
    static double unary(const Data &d, std::int64_t i, int c) {
        const std::int64_t at = node(d, i);
        if (at < 0) return 0.0;
        return d.b[at * d.stride + c] - static_cast<double>(d.diagonal[i]) * d.x[i * d.stride + c];
    }
    template <int W>
    static void slot(const Data &d, std::int64_t e, std::int64_t k, int l, const double (&)[1][W],
                     double (&sum)[K][W]) {
        for (int c = 0; c < K; ++c) sum[c][l] -= static_cast<double>(d.weight[e]) * d.x[k * d.stride + c];
    }
    template <int W>
    static void finish(const Data &d, std::int64_t i, const double (&)[1][W], const double (&sum)[K][W],
                       Report &report) {
        for (int c = 0; c < K; ++c)
            for (int l = 0; l < W; ++l) {
                const std::int64_t at = node(d, i + l);
                if (at < 0) continue;
                d.r[at * d.stride + c] = sum[c][l];
                report.square[c] += sum[c][l] * sum[c][l];
            }
    }
};

constexpr int at_least_one(int count) { return count > 0 ? count : 1; }

// With one right-hand side a vector holds 8 rows; with several it holds the columns of one row.
template <class R, int W>
void traverse_slices(const Layout &layout, const void *data, std::int64_t first, std::int64_t last,
                     Report &report) {
    using T = typename R::Number;
    const auto &d = *static_cast<const typename R::Data *>(data);
    const std::int32_t *column = layout.column;
    for (std::int64_t s = first; s < last; ++s) {
        const std::int64_t begin = layout.slice_start[s], end = layout.slice_start[s + 1];
        for (int row = 0; row < lanes; row += W) {
            const std::int64_t i = s * lanes + row;
            T own[at_least_one(R::owns)][W];
            T sum[at_least_one(R::sums)][W];
            for (int v = 0; v < R::owns; ++v)
                for (int l = 0; l < W; ++l) own[v][l] = R::own(d, i + l, v);
            for (int v = 0; v < R::sums; ++v)
                for (int l = 0; l < W; ++l) sum[v][l] = R::unary(d, i + l, v);
            for (std::int64_t e = begin + row; e < end; e += lanes) {
#pragma omp simd
                for (int l = 0; l < W; ++l) R::slot(d, e + l, column[e + l], l, own, sum);
            }
            R::finish(d, i, own, sum, report);
        }
    }
}

// A stretch of one long row; its sums start from zero and go to `partial`.
template <class R>
void traverse_segment(const Layout &layout, const void *data, std::int64_t segment, double *partial) {
    using T = typename R::Number;
    const auto &d = *static_cast<const typename R::Data *>(data);
    const std::int64_t i = layout.segment_row[segment];
    T own[at_least_one(R::owns)][lanes];
    T sum[at_least_one(R::sums)][lanes] = {};
    for (int v = 0; v < R::owns; ++v)
        for (int l = 0; l < lanes; ++l) own[v][l] = R::own(d, i, v);
    for (std::int64_t e = layout.segment[segment]; e < layout.segment[segment + 1]; e += lanes) {
#pragma omp simd
        for (int l = 0; l < lanes; ++l) R::slot(d, e + l, layout.column[e + l], l, own, sum);
    }
    for (int v = 0; v < R::sums; ++v) {
        partial[v] = 0.0;
        for (int l = 0; l < lanes; ++l) partial[v] += static_cast<double>(sum[v][l]);
    }
}

// A long row's sums, joined in the order of its segments.
template <class R>
void finish_long_row(const Layout &layout, const void *data, std::int64_t row, const double *partial,
                     Report &report) {
    using T = typename R::Number;
    const auto &d = *static_cast<const typename R::Data *>(data);
    const std::int64_t i = layout.slices * lanes + row;
    T own[at_least_one(R::owns)][1];
    T sum[at_least_one(R::sums)][1];
    for (int v = 0; v < R::owns; ++v) own[v][0] = R::own(d, i, v);
    for (int v = 0; v < R::sums; ++v) {
        double total = static_cast<double>(R::unary(d, i, v));
        for (std::int64_t s = layout.row_segment[row]; s < layout.row_segment[row + 1]; ++s)
            total += partial[s * partials + v];
        sum[v][0] = static_cast<T>(total);
    }
    R::finish(d, i, own, sum, report);
}

template <class R, int W>
constexpr Kernel kernel() {
    return {traverse_slices<R, W>, traverse_segment<R>, finish_long_row<R>};
}

template <class T>
constexpr Kernels<T> make_kernels() {
    Kernels<T> k{};
    k.mean[0] = kernel<MeanRule<T, 1, false>, lanes>();
    k.mean[1] = kernel<MeanRule<T, 2, false>, 1>();
    k.mean[2] = kernel<MeanRule<T, 4, false>, 1>();
    k.mean[3] = kernel<MeanRule<T, 8, false>, 1>();
    k.first_mean[0] = kernel<MeanRule<T, 1, true>, lanes>();
    k.first_mean[1] = kernel<MeanRule<T, 2, true>, 1>();
    k.first_mean[2] = kernel<MeanRule<T, 4, true>, 1>();
    k.first_mean[3] = kernel<MeanRule<T, 8, true>, 1>();
    k.damped[0] = kernel<DampedRule<T, 1>, lanes>();
    k.damped[1] = kernel<DampedRule<T, 2>, 1>();
    k.damped[2] = kernel<DampedRule<T, 4>, 1>();
    k.damped[3] = kernel<DampedRule<T, 8>, 1>();
    k.reverse[0] = kernel<ReverseRule<T, 1>, lanes>();
    k.reverse[1] = kernel<ReverseRule<T, 2>, 1>();
    k.reverse[2] = kernel<ReverseRule<T, 4>, 1>();
    k.reverse[3] = kernel<ReverseRule<T, 8>, 1>();
    k.joint[0] = kernel<JointRule<T, 1>, lanes>();
    k.joint[1] = kernel<JointRule<T, 2>, 1>();
    k.joint[2] = kernel<JointRule<T, 4>, 1>();
    k.joint[3] = kernel<JointRule<T, 8>, 1>();
    k.residual[0] = kernel<ResidualRule<T, 1>, lanes>();
    k.residual[1] = kernel<ResidualRule<T, 2>, 1>();
    k.residual[2] = kernel<ResidualRule<T, 4>, 1>();
    k.residual[3] = kernel<ResidualRule<T, 8>, 1>();
    k.start = kernel<StartRule<T>, lanes>();
    k.precision = kernel<PrecisionRule<T>, lanes>();
    k.coefficient = kernel<CoefficientRule<T>, lanes>();
    return k;
}

constexpr Kernels<float> kernels_float = make_kernels<float>();
constexpr Kernels<double> kernels_double = make_kernels<double>();

}  // namespace
}  // namespace gabp
