// From compressed rows to a graph's slots: are the entries sound, is the matrix symmetric, where is the
// diagonal. One pass each, in parallel over stretches of rows that hold about equally many entries.
#include "common/array.hpp"
#include "common/pool.hpp"
#include "bindings/tensors.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>

namespace gabp {
namespace {

constexpr std::int64_t entries_per_task = 1 << 15;

// The rows of compressed rows, cut into tasks of about `entries_per_task` entries and rows.
template <class Offset>
class RowTasks {
public:
    RowTasks(const Offset *start, std::int64_t n) : start_(start), n_(n) {
        tasks_ = (static_cast<std::int64_t>(start[n]) + n) / entries_per_task + 1;
    }
    std::int64_t count() const { return tasks_; }
    std::int64_t first(std::int64_t task) const {  // smallest row with start[i] + i >= the task's share
        const std::int64_t share = task * entries_per_task;
        std::int64_t low = 0, high = n_;
        while (low < high) {
            const std::int64_t middle = (low + high) / 2;
            if (static_cast<std::int64_t>(start_[middle]) + middle < share) low = middle + 1;
            else high = middle;
        }
        return low;
    }
    std::int64_t last(std::int64_t task) const { return task + 1 == tasks_ ? n_ : first(task + 1); }

private:
    const Offset *start_;
    std::int64_t n_, tasks_;
};

// Calls visit(task, row) for every row, the rows of one task in order.
template <class Offset, class Visit>
void for_rows(int threads, const RowTasks<Offset> &tasks, const Visit &visit) {
    for_chunks(threads, tasks.count(), [&](std::int64_t task) {
        const std::int64_t last = tasks.last(task);
        for (std::int64_t i = tasks.first(task); i < last; ++i) visit(task, i);
    });
}

struct Soundness {
    std::int64_t not_finite = -1, outside = -1;  // first entry of its kind
    bool sorted = true;                          // columns ascending, none twice
};

inline std::uint64_t exponent_overflow(double v) {  // the highest bit: v is not finite
    std::uint64_t bits;
    std::memcpy(&bits, &v, sizeof v);
    return (bits & 0x7ff0000000000000u) + 0x0010000000000000u;
}

inline std::uint32_t exponent_overflow(float v) {
    std::uint32_t bits;
    std::memcpy(&bits, &v, sizeof v);
    return (bits & 0x7f800000u) + 0x00800000u;
}

template <class T>
bool all_finite(const T *value, std::int64_t count) {
    auto overflow = exponent_overflow(T(0));
    for (std::int64_t e = 0; e < count; ++e) overflow |= exponent_overflow(value[e]);
    return overflow >> (8 * sizeof overflow - 1) == 0;
}

template <class Offset, class Index, class T>
Soundness inspect(const Offset *start, const Index *column, const T *value, std::int64_t n, int threads) {
    const RowTasks<Offset> tasks(start, n);
    std::vector<Soundness> found(static_cast<std::size_t>(tasks.count()));
    for_chunks(threads, tasks.count(), [&](std::int64_t task) {
        Soundness s;
        const std::int64_t first = tasks.first(task), last = tasks.last(task);
        const auto begin = static_cast<std::int64_t>(start[first]), end = static_cast<std::int64_t>(start[last]);
        bool outside = false;
        for (std::int64_t i = first; i < last; ++i) {
            std::int64_t previous = -1;
            for (auto e = static_cast<std::int64_t>(start[i]); e < static_cast<std::int64_t>(start[i + 1]); ++e) {
                const auto j = static_cast<std::int64_t>(column[e]);
                s.sorted &= j > previous;
                outside |= static_cast<std::uint64_t>(j) >= static_cast<std::uint64_t>(n);
                previous = j;
            }
        }
        for (std::int64_t e = begin; outside && s.outside < 0; ++e)
            if (column[e] < 0 || column[e] >= n) s.outside = e;
        if (!all_finite(value + begin, end - begin))
            for (s.not_finite = begin; std::isfinite(value[s.not_finite]);) ++s.not_finite;
        found[static_cast<std::size_t>(task)] = s;
    });
    Soundness all;
    for (const Soundness &s : found) {
        if (all.not_finite < 0) all.not_finite = s.not_finite;
        if (all.outside < 0) all.outside = s.outside;
        all.sorted &= s.sorted;
    }
    return all;
}

template <class T>
struct Rows {
    const std::int64_t *start;
    const std::int32_t *column;
    const T *value;
    std::int64_t n;

    // The entry (i, j), or -1.
    std::int64_t find(std::int64_t i, std::int32_t j) const {
        constexpr std::ptrdiff_t few = 32;  // a search that guesses wrong once, not at every step
        const std::int32_t *at = column + start[i], *end = column + start[i + 1];
        if (end - at > few) at = std::lower_bound(at, end, j);
        else
            while (at != end && *at < j) ++at;
        return at != end && *at == j ? at - column : -1;
    }
    T at(std::int64_t entry) const { return entry < 0 ? T(0) : value[entry]; }
};

struct Mirrors {
    bool exact = true;  // every off-diagonal entry is nonzero and equal to its mirror
    std::int64_t row = -1, entry = -1, mirror = -1;
    double difference = 0.0;

    void join(const Mirrors &other) {
        exact &= other.exact;
        if (other.difference > difference) {  // of equals, the first stays
            row = other.row;
            entry = other.entry;
            mirror = other.mirror;
            difference = other.difference;
        }
    }
};

// A number for a value at a place, the same wherever the pair is met.
template <class T>
inline std::uint64_t fingerprint(std::int64_t i, std::int64_t j, T value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    std::uint64_t h = (static_cast<std::uint64_t>(i) << 32 | static_cast<std::uint64_t>(j)) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32 ^ bits) * 0xbf58476d1ce4e5b9u;  // the finaliser of splitmix64 (Steele, Lea and Flood 2014)
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

// Whether every off-diagonal entry is nonzero and equal to its mirror. The mirrors lie anywhere, so they are not
// looked up: the fingerprints of the entries right of the diagonal are summed, and those on its left, as of their
// mirrors. The sums of different triangles agree by a chance of 2^-64.
template <class T>
bool mirrors_agree(const Rows<T> &rows, int threads) {
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    std::atomic<bool> nonzero{true};
    std::atomic<std::uint64_t> balance{0};
    for_chunks(threads, tasks.count(), [&](std::int64_t task) {
        std::uint64_t right = 0, left = 0;
        bool zero = false;
        const std::int64_t last = tasks.last(task);
        for (std::int64_t i = tasks.first(task); i < last; ++i) {
            std::int64_t e = rows.start[i];
            const std::int64_t end = rows.start[i + 1];
            for (; e < end && rows.column[e] < i; ++e) {
                left += fingerprint(rows.column[e], i, rows.value[e]);
                zero |= rows.value[e] == T(0);
            }
            if (e < end && rows.column[e] == i) ++e;
            for (; e < end; ++e) {
                right += fingerprint(i, rows.column[e], rows.value[e]);
                zero |= rows.value[e] == T(0);
            }
        }
        balance.fetch_add(right - left, std::memory_order_relaxed);
        if (zero) nonzero.store(false, std::memory_order_relaxed);
    });
    return nonzero.load() && balance.load() == 0;
}

// Compares each entry with its mirror; a difference within tolerance * max(|A_ij|, |A_ji|, sqrt|A_ii A_jj|)
// is rounding.
template <class T>
Mirrors compare_mirrors(const Rows<T> &rows, double tolerance, int threads) {
    if (mirrors_agree(rows, threads)) return {};
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    std::vector<Mirrors> found(static_cast<std::size_t>(tasks.count()));
    for_rows(threads, tasks, [&](std::int64_t task, std::int64_t i) {
        Mirrors &m = found[static_cast<std::size_t>(task)];
        for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
            const std::int32_t j = rows.column[e];
            if (j == i) continue;
            const std::int64_t mirror = rows.find(j, static_cast<std::int32_t>(i));
            const double forth = rows.value[e], back = rows.at(mirror);
            m.exact &= mirror >= 0 && forth == back && forth != 0.0;
            const double difference = std::abs(forth - back);
            if (!(difference > m.difference)) continue;
            const double row_scale = std::abs(static_cast<double>(rows.at(rows.find(i, static_cast<std::int32_t>(i)))));
            const double column_scale = std::abs(static_cast<double>(rows.at(rows.find(j, j))));
            const double scale = std::max({std::abs(forth), std::abs(back), std::sqrt(row_scale) * std::sqrt(column_scale)});
            if (difference > tolerance * scale) m.join({false, i, e, mirror, difference});
        }
    });
    Mirrors all;
    for (const Mirrors &m : found) all.join(m);
    return all;
}

template <class T>
struct Transpose {
    std::vector<std::int64_t> start;
    std::vector<std::int32_t> column;
    std::vector<T> value;

    explicit Transpose(const Rows<T> &rows)
        : start(static_cast<std::size_t>(rows.n) + 1, 0), column(static_cast<std::size_t>(rows.start[rows.n])),
          value(column.size()) {
        for (std::size_t e = 0; e < column.size(); ++e) ++start[static_cast<std::size_t>(rows.column[e]) + 1];
        std::partial_sum(start.begin(), start.end(), start.begin());
        std::vector<std::int64_t> next(start.begin(), start.end() - 1);
        for (std::int64_t i = 0; i < rows.n; ++i)
            for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
                const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(rows.column[e])]++);
                column[at] = static_cast<std::int32_t>(i);
                value[at] = rows.value[e];
            }
    }
    Rows<T> rows() const {
        return {start.data(), column.data(), value.data(), static_cast<std::int64_t>(start.size()) - 1};
    }
};

// Calls visit(j, A_ij, A_ji) over the union of row i and column i, ascending in j.
template <class T, class Visit>
void merge_row(const Rows<T> &rows, const Rows<T> &transpose, std::int64_t i, const Visit &visit) {
    std::int64_t e = rows.start[i], f = transpose.start[i];
    const std::int64_t e_end = rows.start[i + 1], f_end = transpose.start[i + 1];
    while (e < e_end || f < f_end) {
        const std::int32_t here = e < e_end ? rows.column[e] : transpose.column[f];
        const std::int32_t there = f < f_end ? transpose.column[f] : here;
        const std::int32_t j = std::min(here, there);
        const T forth = e < e_end && rows.column[e] == j ? rows.value[e++] : T(0);
        const T back = f < f_end && transpose.column[f] == j ? transpose.value[f++] : T(0);
        visit(j, forth, back);
    }
}

template <class T>
struct Slots {
    Array<std::int64_t> start;
    Array<std::int32_t> source;
    Array<T> weight;
    Array<T> diagonal;

    Slots() = default;
    Slots(std::int64_t n, std::int64_t slots, bool with_diagonal)
        : start(n + 1), source(slots), weight(slots), diagonal(with_diagonal ? n : 0) {}

    // For rows of which row i will hold count(i) slots.
    template <class Count>
    static Slots counted(const RowTasks<std::int64_t> &tasks, std::int64_t n, int threads, bool with_diagonal,
                         const Count &count) {
        Array<std::int64_t> start(n + 1);
        start[0] = 0;
        for_rows(threads, tasks, [&](std::int64_t, std::int64_t i) { start[i + 1] = count(i); });
        std::partial_sum(start.data(), start.data() + n + 1, start.data());
        Slots slots(n, start[n], with_diagonal);
        slots.start = std::move(start);
        return slots;
    }
};

// Off-diagonal slots of a matrix whose entries all have an equal, nonzero mirror, and which stores its whole
// diagonal: row i then begins i entries earlier. `complete` turns false where the diagonal has a gap.
template <class T>
Slots<T> split_complete(const Rows<T> &rows, int threads, bool &complete) {
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    Slots<T> slots(rows.n, rows.start[rows.n] - rows.n, true);
    std::atomic<bool> found{true};
    slots.start[rows.n] = rows.start[rows.n] - rows.n;
    for_chunks(threads, tasks.count(), [&](std::int64_t task) {
        if (!found.load(std::memory_order_relaxed)) return;
        const std::int64_t last = tasks.last(task);
        for (std::int64_t i = tasks.first(task); i < last; ++i) {
            const std::int64_t end = rows.start[i + 1];
            std::int64_t e = rows.start[i], slot = e - i;
            slots.start[i] = slot;
            for (; e < end && rows.column[e] < i; ++e, ++slot) {
                slots.source[slot] = rows.column[e];
                slots.weight[slot] = rows.value[e];
            }
            if (e == end || rows.column[e] != i) {
                found.store(false, std::memory_order_relaxed);
                return;
            }
            slots.diagonal[i] = rows.value[e++];
            for (; e < end; ++e, ++slot) {
                slots.source[slot] = rows.column[e];
                slots.weight[slot] = rows.value[e];
            }
        }
    });
    complete = found.load();
    return slots;
}

template <class T>
Slots<T> split_exact(const Rows<T> &rows, int threads) {
    bool complete = rows.start[rows.n] >= rows.n;
    if (complete) {
        Slots<T> slots = split_complete(rows, threads, complete);
        if (complete) return slots;
    }
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    Slots<T> slots = Slots<T>::counted(tasks, rows.n, threads, true, [&](std::int64_t i) {
        const std::int64_t entries = rows.start[i + 1] - rows.start[i];
        return entries - (rows.find(i, static_cast<std::int32_t>(i)) >= 0 ? 1 : 0);
    });
    for_rows(threads, tasks, [&](std::int64_t, std::int64_t i) {
        slots.diagonal[i] = T(0);
        std::int64_t slot = slots.start[i];
        for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
            if (rows.column[e] == i) {
                slots.diagonal[i] = rows.value[e];
            } else {
                slots.source[slot] = rows.column[e];
                slots.weight[slot++] = rows.value[e];
            }
        }
    });
    return slots;
}

// Off-diagonal slots on the symmetrised pattern; with `average`, of (A + A') / 2.
template <class T>
Slots<T> split_general(const Rows<T> &rows, bool average, int threads) {
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    const Transpose<T> transposed(rows);
    const Rows<T> transpose = transposed.rows();
    const auto is_slot = [&](std::int64_t i, std::int32_t j, T forth, T back) {
        return j != i && (average ? (forth + back) / 2 != T(0) : forth != T(0) || back != T(0));
    };
    Slots<T> slots = Slots<T>::counted(tasks, rows.n, threads, true, [&](std::int64_t i) {
        std::int64_t count = 0;
        merge_row(rows, transpose, i,
                  [&](std::int32_t j, T forth, T back) { count += is_slot(i, j, forth, back) ? 1 : 0; });
        return count;
    });
    for_rows(threads, tasks, [&](std::int64_t, std::int64_t i) {
        slots.diagonal[i] = T(0);
        std::int64_t slot = slots.start[i];
        merge_row(rows, transpose, i, [&](std::int32_t j, T forth, T back) {
            if (j == i) slots.diagonal[i] = forth;
            if (!is_slot(i, j, forth, back)) return;
            slots.source[slot] = j;
            slots.weight[slot++] = average ? (forth + back) / 2 : forth;
        });
    });
    return slots;
}

// Rows sorted by column, entries of one place summed in the order in which they are stored.
template <class T>
Slots<T> sort_rows(const Rows<T> &rows, int threads) {
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    const auto entries = static_cast<std::size_t>(rows.start[rows.n]);
    std::vector<std::int64_t> order(entries);
    std::iota(order.begin(), order.end(), std::int64_t(0));
    Slots<T> sorted = Slots<T>::counted(tasks, rows.n, threads, false, [&](std::int64_t i) {
        const auto first = order.begin() + rows.start[i], last = order.begin() + rows.start[i + 1];
        std::stable_sort(first, last, [&](auto a, auto b) { return rows.column[a] < rows.column[b]; });
        std::int64_t count = 0;
        for (auto e = first; e != last; ++e) count += e == first || rows.column[*e] != rows.column[*(e - 1)] ? 1 : 0;
        return count;
    });
    for_rows(threads, tasks, [&](std::int64_t, std::int64_t i) {
        std::int64_t slot = sorted.start[i] - 1;
        for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
            const std::int64_t entry = order[static_cast<std::size_t>(e)];
            const bool again = e > rows.start[i] &&
                               rows.column[entry] == rows.column[order[static_cast<std::size_t>(e) - 1]];
            if (again) {
                sorted.weight[slot] += rows.value[entry];
            } else {
                sorted.source[++slot] = rows.column[entry];
                sorted.weight[slot] = rows.value[entry];
            }
        }
    });
    return sorted;
}

template <class T>
Rows<T> rows_of(const Offsets &start, const Nodes &column, const Vector<const T> &value) {
    require(start.shape(0) > 0 && column.shape(0) == value.shape(0), "start, column and value do not fit together");
    return {start.data(), column.data(), value.data(), static_cast<std::int64_t>(start.shape(0)) - 1};
}

template <class Offset, class Index, class T>
bool try_inspect(nb::handle start, nb::handle column, nb::handle value, int threads, Soundness &result) {
    Vector<const Offset> offsets;
    Vector<const Index> columns;
    Vector<const T> values;
    if (!nb::try_cast(start, offsets, false) || !nb::try_cast(column, columns, false) ||
        !nb::try_cast(value, values, false))
        return false;
    require(offsets.shape(0) > 0 && columns.shape(0) == values.shape(0), "start, column and value do not fit together");
    nb::gil_scoped_release release;
    result = inspect(offsets.data(), columns.data(), values.data(),
                     static_cast<std::int64_t>(offsets.shape(0)) - 1, threads);
    return true;
}

template <class T>
bool try_inspect(nb::handle start, nb::handle column, nb::handle value, int threads, Soundness &result) {
    return try_inspect<std::int64_t, std::int32_t, T>(start, column, value, threads, result) ||
           try_inspect<std::int32_t, std::int32_t, T>(start, column, value, threads, result) ||
           try_inspect<std::int64_t, std::int64_t, T>(start, column, value, threads, result) ||
           try_inspect<std::int32_t, std::int64_t, T>(start, column, value, threads, result);
}

template <class T>
nb::tuple give_slots(Slots<T> &&slots) {
    return nb::make_tuple(give(std::move(slots.start)), give(std::move(slots.source)),
                          give(std::move(slots.weight)), give(std::move(slots.diagonal)));
}

template <class T>
void bind(nb::module_ &m) {
    // (exact, row, entry, mirror entry or -1); row is -1 where all differences are rounding.
    m.def("compare_mirrors", [](Offsets start, Nodes column, Vector<const T> value, double tolerance, int threads) {
        const Rows<T> rows = rows_of<T>(start, column, value);
        Mirrors m;
        {
            nb::gil_scoped_release release;
            m = compare_mirrors(rows, tolerance, threads);
        }
        return nb::make_tuple(m.exact, m.row, m.entry, m.mirror);
    });
    // (start, source, weight, diagonal)
    m.def("split_rows", [](Offsets start, Nodes column, Vector<const T> value, bool exact, bool average, int threads) {
        const Rows<T> rows = rows_of<T>(start, column, value);
        Slots<T> slots;
        {
            nb::gil_scoped_release release;
            slots = exact ? split_exact(rows, threads) : split_general(rows, average, threads);
        }
        return give_slots(std::move(slots));
    });
    m.def("sort_rows", [](Offsets start, Nodes column, Vector<const T> value, int threads) {
        const Rows<T> rows = rows_of<T>(start, column, value);
        Slots<T> sorted;
        {
            nb::gil_scoped_release release;
            sorted = sort_rows(rows, threads);
        }
        return give_slots(std::move(sorted));
    });
}

}  // namespace

void bind_rows(nb::module_ &m) {
    // (first entry that is not finite or -1, first whose column does not exist or -1, sorted without duplicates)
    m.def("inspect_rows", [](nb::handle start, nb::handle column, nb::handle value, int threads) {
        Soundness s;
        require(try_inspect<double>(start, column, value, threads, s) ||
                    try_inspect<float>(start, column, value, threads, s),
                "not the arrays of compressed rows");
        return nb::make_tuple(s.not_finite, s.outside, s.sorted);
    });
    bind<float>(m);
    bind<double>(m);
    m.def("reverse_slots", [](Offsets start, Nodes source, nb::object reverse, int threads) {
        const auto out = take<Vector<std::int64_t>>(reverse);
        const Rows<char> rows{start.data(), source.data(), nullptr, static_cast<std::int64_t>(start.shape(0)) - 1};
        require(out.shape(0) == source.shape(0), "reverse must have one entry per slot");
        nb::gil_scoped_release release;
        for_rows(threads, RowTasks<std::int64_t>(rows.start, rows.n), [&](std::int64_t, std::int64_t i) {
            for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e)
                out.data()[e] = rows.find(rows.column[e], static_cast<std::int32_t>(i));
        });
    });
}

}  // namespace gabp
