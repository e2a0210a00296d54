// Flooding sweeps over the sliced layout: the loops over tasks and sweeps, and their Python bindings.
#include "layout/layout_arrays.hpp"
#include "common/cpu_dispatch.hpp"
#include "common/pool.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace gabp {
namespace {

constexpr std::int64_t segments_per_task = 16;
constexpr std::int64_t long_rows_per_task = 64;

// Runs kernels over the whole layout.
class Sweep {
public:
    Sweep(const Layout &layout, int threads)
        : layout_(layout), threads_(threads),
          segment_tasks_((layout.segments + segments_per_task - 1) / segments_per_task),
          reports_(static_cast<std::size_t>(layout.chunks + layout.long_rows / long_rows_per_task + 1)),
          partial_(static_cast<std::size_t>(layout.segments * partials)) {}

    // Every second run traverses the tasks backwards: it begins with what the last one left in the cache.
    Report run(const Kernel &kernel, const void *data) {
        std::fill(reports_.begin(), reports_.end(), Report{});
        const std::int64_t tasks = layout_.chunks + segment_tasks_;
        for_chunks(threads_, tasks, [&](std::int64_t task) {
            const std::int64_t at = backwards_ ? tasks - 1 - task : task;
            if (at < layout_.chunks)
                kernel.slices(layout_, data, layout_.chunk[at], layout_.chunk[at + 1], reports_[index(at)]);
            else
                run_segments(kernel, data, at - layout_.chunks);
        });
        // Beliefs of long rows change only after all segments have read them.
        for_ranges(threads_, layout_.long_rows, long_rows_per_task, [&](std::int64_t first, std::int64_t last) {
            Report &report = reports_[index(layout_.chunks + first / long_rows_per_task)];
            for (std::int64_t row = first; row < last; ++row)
                kernel.long_row(layout_, data, row, partial_.data(), report);
        });
        backwards_ = !backwards_;
        return join();
    }

private:
    static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

    void run_segments(const Kernel &kernel, const void *data, std::int64_t task) {
        const std::int64_t first = task * segments_per_task;
        const std::int64_t last = std::min(first + segments_per_task, layout_.segments);
        for (std::int64_t s = first; s < last; ++s)
            kernel.segment(layout_, data, s, partial_.data() + s * partials);
    }

    Report join() const {
        Report total;
        for (const Report &report : reports_) {
            for (int l = 0; l < lanes; ++l) total.change[0] = std::max(total.change[0], report.change[l]);
            if (report.invalid >= 0 && (total.invalid < 0 || report.invalid < total.invalid))
                total.invalid = report.invalid;
            for (int c = 0; c < widest_panel; ++c) total.square[c] += report.square[c];
        }
        return total;
    }

    const Layout &layout_;
    int threads_;
    std::int64_t segment_tasks_;
    bool backwards_ = false;
    std::vector<Report> reports_;
    std::vector<double> partial_;
};

int panel_of(std::int64_t width) {
    for (int p = 0; p < panels; ++p)
        if (width == std::int64_t(1) << p) return p;
    throw std::invalid_argument("right-hand sides travel in panels of 1, 2, 4 or 8");
}

template <class T>
using Buffers = View<T, 2>;  // (2, entries)

// The beliefs and messages of one panel of right-hand sides, each in a buffer of two halves: half t % 2 holds sweep t
// and is overwritten by sweep t + 2.
template <class T>
class State {
public:
    State(const Layout &layout, nb::handle belief, nb::handle message, std::int64_t width)
        : belief_(take<Buffers<T>>(belief)), message_(take<Buffers<T>>(message)), panel_(panel_of(width)) {
        require(static_cast<std::int64_t>(belief_.shape(0)) == 2 && static_cast<std::int64_t>(message_.shape(0)) == 2 &&
                    static_cast<std::int64_t>(belief_.shape(1)) == layout.positions() * width &&
                    static_cast<std::int64_t>(message_.shape(1)) == layout.segment[layout.segments] * width,
                "a state's buffers do not fit the layout");
    }

    T *belief(std::int64_t t) const { return half(belief_, t); }
    T *message(std::int64_t t) const { return half(message_, t); }
    int panel() const { return panel_; }

private:
    static T *half(const Buffers<T> &buffers, std::int64_t t) {
        return buffers.data() + (t & 1) * static_cast<std::int64_t>(buffers.shape(1));
    }

    Buffers<T> belief_, message_;
    int panel_;
};

template <class T>
void bind_means(nb::module_ &m) {
    // Afterwards belief and message hold sweep t + count.
    m.def("mean_sweeps", [](nb::tuple layout, Vector<const T> coefficient, Columns<const T> unary,
                            nb::object belief, nb::object message, std::int64_t t, std::int64_t count, int threads) {
        const LayoutArrays arrays(layout);
        const State<T> state(arrays.view, belief, message, static_cast<std::int64_t>(unary.shape(1)));
        nb::gil_scoped_release release;
        Sweep sweep(arrays.view, threads);
        for (const std::int64_t stop = t + count; t < stop; ++t) {
            const MeanData<T> data{coefficient.data(), unary.data(), state.belief(t), state.belief(t + 1),
                                   state.message(t + 1)};
            sweep.run(t < 2 ? kernels<T>().first_mean[state.panel()] : kernels<T>().mean[state.panel()], &data);
        }
    });
    // In half (t + 1) of the messages, the incoming ones of sweep t - 1 become the outgoing ones of sweep t.
    m.def("reverse_messages", [](nb::tuple layout, Vector<const T> coefficient, nb::object belief,
                                 nb::object message, std::int64_t t, int width, int threads) {
        const LayoutArrays arrays(layout);
        const State<T> state(arrays.view, belief, message, width);
        nb::gil_scoped_release release;
        const ReverseData<T> data{coefficient.data(), state.belief(t + 1), state.message(t + 1)};
        Sweep(arrays.view, threads).run(kernels<T>().reverse[state.panel()], &data);
    });
    // Half `incoming` of the messages holds the incoming ones, the other the outgoing ones.
    m.def("damped_sweeps", [](nb::tuple layout, Vector<const T> coefficient, Columns<const T> unary,
                              nb::object belief, nb::object message, std::int64_t incoming, std::int64_t t,
                              std::int64_t count, T damping, int threads) {
        const LayoutArrays arrays(layout);
        const State<T> state(arrays.view, belief, message, static_cast<std::int64_t>(unary.shape(1)));
        nb::gil_scoped_release release;
        Sweep sweep(arrays.view, threads);
        for (const std::int64_t stop = t + count; t < stop; ++t) {
            const DampedData<T> data{coefficient.data(),      unary.data(),
                                     state.belief(t),         state.belief(t + 1),
                                     state.message(incoming), state.message(incoming + 1),
                                     damping};
            sweep.run(kernels<T>().damped[state.panel()], &data);
        }
    });
}

template <class T>
void bind_precisions(nb::module_ &m) {
    // Fills both halves of the messages with P = -|A_ik| d_k / d_i and half 0 of the beliefs with their sums.
    m.def("start_precisions", [](nb::tuple layout, nb::object node, Vector<const T> weight,
                                 Vector<const T> diagonal, Vector<const T> scale, nb::object belief,
                                 nb::object message, int threads) {
        const LayoutArrays arrays(layout);
        const auto nodes = take<Nodes>(node);
        const State<T> state(arrays.view, belief, message, 1);
        nb::gil_scoped_release release;
        Sweep sweep(arrays.view, threads);
        std::int64_t invalid = -1;
        for (const std::int64_t t : {1, 0}) {
            const StartData<T> data{
                {weight.data(), diagonal.data(), nullptr, state.belief(0), state.message(t), node_map(nodes)},
                scale.data()};
            invalid = sweep.run(kernels<T>().start, &data).invalid;
        }
        return invalid;
    });
    // Sweeps until the beliefs have converged. Returns (t, change, node with an invalid belief or -1).
    m.def("precision_sweeps", [](nb::tuple layout, nb::object node, Vector<const T> weight,
                                 Vector<const T> diagonal, nb::object belief, nb::object message, std::int64_t t,
                                 std::int64_t limit, double tolerance, bool must_be_positive, int threads) {
        const LayoutArrays arrays(layout);
        const auto nodes = take<Nodes>(node);
        const State<T> state(arrays.view, belief, message, 1);
        Report report;
        report.change[0] = HUGE_VAL;
        {
            nb::gil_scoped_release release;
            Sweep sweep(arrays.view, threads);
            for (; t < limit && !(report.change[0] <= tolerance && report.invalid < 0); ++t) {
                if (must_be_positive && report.invalid >= 0) break;
                const PrecisionData<T> data{weight.data(),        diagonal.data(),      state.belief(t),
                                            state.belief(t + 1), state.message(t + 1), node_map(nodes)};
                report = sweep.run(kernels<T>().precision, &data);
            }
        }
        return nb::make_tuple(t, report.change[0], report.invalid);
    });
    // The coefficients g of the precision messages.
    m.def("coefficients", [](nb::tuple layout, Vector<const T> weight, Vector<const T> root,
                             Vector<const T> message, nb::object coefficient, int threads) {
        const LayoutArrays arrays(layout);
        const auto out = take<Vector<T>>(coefficient);
        nb::gil_scoped_release release;
        const CoefficientData<T> data{weight.data(), root.data(), message.data(), out.data()};
        Sweep(arrays.view, threads).run(kernels<T>().coefficient, &data);
    });
}

// Precisions and potentials together. Returns (t, node with an invalid belief or -1).
template <class T>
void bind_joint(nb::module_ &m) {
    m.def("joint_sweeps", [](nb::tuple layout, nb::object node, Vector<const T> weight, Vector<const T> diagonal,
                             nb::object precision, nb::object precision_message, Columns<const T> unary,
                             nb::object potential, nb::object potential_message, std::int64_t t,
                             std::int64_t count, bool must_be_positive, int threads) {
        const LayoutArrays arrays(layout);
        const auto nodes = take<Nodes>(node);
        const State<T> precisions(arrays.view, precision, precision_message, 1);
        const State<T> potentials(arrays.view, potential, potential_message, static_cast<std::int64_t>(unary.shape(1)));
        std::int64_t invalid = -1;
        {
            nb::gil_scoped_release release;
            Sweep sweep(arrays.view, threads);
            for (const std::int64_t stop = t + count; t < stop && !(must_be_positive && invalid >= 0); ++t) {
                const JointData<T> data{{weight.data(), diagonal.data(), precisions.belief(t), precisions.belief(t + 1),
                                         precisions.message(t + 1), node_map(nodes)},
                                        unary.data(),
                                        potentials.belief(t),
                                        potentials.belief(t + 1),
                                        potentials.message(t + 1)};
                invalid = sweep.run(kernels<T>().joint[potentials.panel()], &data).invalid;
            }
        }
        return nb::make_tuple(t, invalid);
    });
}

// r = b - A x in float64; norms receives the Euclidean norms of its columns.
template <class T>
void bind_residual(nb::module_ &m) {
    m.def("residual", [](nb::tuple layout, nb::object node, Vector<const T> weight, Vector<const T> diagonal,
                         nb::object x, nb::object b, nb::object r, nb::object norms, int threads) {
        const LayoutArrays arrays(layout);
        const auto nodes = take<Nodes>(node);
        const auto from = take<Columns<const double>>(x);
        const auto right = take<Columns<const double>>(b);
        const auto to = take<Columns<double>>(r);
        const auto norm = take<Vector<double>>(norms);
        const auto n = static_cast<std::int64_t>(right.shape(0)), k = static_cast<std::int64_t>(right.shape(1));
        require(static_cast<std::int64_t>(from.shape(0)) == (nodes.shape(0) > 0 ? arrays.view.positions() : n) &&
                    static_cast<std::int64_t>(from.shape(1)) == k && static_cast<std::int64_t>(to.shape(1)) == k &&
                    static_cast<std::int64_t>(to.shape(0)) == n && static_cast<std::int64_t>(norm.shape(0)) == k,
                "x, b and r do not fit together");
        nb::gil_scoped_release release;
        Sweep sweep(arrays.view, threads);
        for (std::int64_t c = 0; c < k;) {
            int panel = panels - 1;
            while (std::int64_t(1) << panel > k - c) --panel;
            const ResidualData<T> data{weight.data(), diagonal.data(), from.data() + c, right.data() + c,
                                       to.data() + c, k,               n,               node_map(nodes)};
            const Report report = sweep.run(kernels<T>().residual[panel], &data);
            for (int p = 0; p < 1 << panel; ++p, ++c) norm.data()[c] = std::sqrt(report.square[p]);
        }
    });
}

template <class T>
void bind(nb::module_ &m) {
    bind_means<T>(m);
    bind_precisions<T>(m);
    bind_joint<T>(m);
    bind_residual<T>(m);
}

}  // namespace

void bind_flooding(nb::module_ &m) {
    m.def("instruction_set", [] { return instruction_set().name; }, "The instruction set of the kernels in use.");
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
