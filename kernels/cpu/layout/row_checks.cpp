// Checks of a matrix compressed by rows: sound entries, symmetry.
#include "layout/rows.hpp"

#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

namespace gabp {
namespace {

struct EntryCheck {
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
EntryCheck check_entries(const Offset *start, const Index *column, const T *value, std::int64_t n, int threads) {
    const RowTasks<Offset> tasks(start, n);
    std::vector<EntryCheck> found(static_cast<std::size_t>(tasks.count()));
    for_chunks(threads, tasks.count(), [&](std::int64_t task) {
        EntryCheck s;
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
    EntryCheck all;
    for (const EntryCheck &s : found) {
        if (all.not_finite < 0) all.not_finite = s.not_finite;
        if (all.outside < 0) all.outside = s.outside;
        all.sorted &= s.sorted;
    }
    return all;
}

struct Asymmetry {
    bool exact = true;  // every off-diagonal entry is nonzero and equal to its mirror
    std::int64_t row = -1, entry = -1, mirror = -1;
    double difference = 0.0;

    void join(const Asymmetry &other) {
        exact &= other.exact;
        if (other.difference > difference) {  // the first of equal ones
            row = other.row;
            entry = other.entry;
            mirror = other.mirror;
            difference = other.difference;
        }
    }
};

// A hash of the entry (i, j, value).
template <class T>
inline std::uint64_t entry_hash(std::int64_t i, std::int64_t j, T value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    std::uint64_t h = (static_cast<std::uint64_t>(i) << 32 | static_cast<std::uint64_t>(j)) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32 ^ bits) * 0xbf58476d1ce4e5b9u;  // the finaliser of splitmix64 (Steele, Lea and Flood 2014)
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

// Whether every off-diagonal entry is nonzero and equal to its mirror. Mirrors are not searched for: the hashes of the
// upper triangle are summed and those of the lower one, transposed, subtracted. Different triangles collide with
// probability 2^-64.
template <class T>
bool symmetric_by_hash(const CompressedRows<T> &rows, int threads) {
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    std::atomic<bool> nonzero{true};
    std::atomic<std::uint64_t> difference{0};
    for_chunks(threads, tasks.count(), [&](std::int64_t task) {
        std::uint64_t right = 0, left = 0;
        bool zero = false;
        const std::int64_t last = tasks.last(task);
        for (std::int64_t i = tasks.first(task); i < last; ++i) {
            std::int64_t e = rows.start[i];
            const std::int64_t end = rows.start[i + 1];
            for (; e < end && rows.column[e] < i; ++e) {
                left += entry_hash(rows.column[e], i, rows.value[e]);
                zero |= rows.value[e] == T(0);
            }
            if (e < end && rows.column[e] == i) ++e;
            for (; e < end; ++e) {
                right += entry_hash(i, rows.column[e], rows.value[e]);
                zero |= rows.value[e] == T(0);
            }
        }
        difference.fetch_add(right - left, std::memory_order_relaxed);
        if (zero) nonzero.store(false, std::memory_order_relaxed);
    });
    return nonzero.load() && difference.load() == 0;
}

// Compares each entry with its mirror; a difference within tolerance * max(|A_ij|, |A_ji|, sqrt|A_ii A_jj|)
// is rounding.
template <class T>
Asymmetry compare_mirrors(const CompressedRows<T> &rows, double tolerance, int threads) {
    if (symmetric_by_hash(rows, threads)) return {};
    const RowTasks<std::int64_t> tasks(rows.start, rows.n);
    std::vector<Asymmetry> found(static_cast<std::size_t>(tasks.count()));
    for_rows(threads, tasks, [&](std::int64_t task, std::int64_t i) {
        Asymmetry &m = found[static_cast<std::size_t>(task)];
        for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
            const std::int32_t j = rows.column[e];
            if (j == i) continue;
            const std::int64_t mirror = rows.find(j, static_cast<std::int32_t>(i));
            const double forward = rows.value[e], backward = rows.at(mirror);
            m.exact &= mirror >= 0 && forward == backward && forward != 0.0;
            const double difference = std::abs(forward - backward);
            if (!(difference > m.difference)) continue;
            const double row_scale = std::abs(static_cast<double>(rows.at(rows.find(i, static_cast<std::int32_t>(i)))));
            const double column_scale = std::abs(static_cast<double>(rows.at(rows.find(j, j))));
            const double scale =
                std::max({std::abs(forward), std::abs(backward), std::sqrt(row_scale) * std::sqrt(column_scale)});
            if (difference > tolerance * scale) m.join({false, i, e, mirror, difference});
        }
    });
    Asymmetry all;
    for (const Asymmetry &m : found) all.join(m);
    return all;
}

template <class Offset, class Index, class T>
bool try_check_entries(nb::handle start, nb::handle column, nb::handle value, int threads, EntryCheck &result) {
    Vector<const Offset> offsets;
    Vector<const Index> columns;
    Vector<const T> values;
    if (!nb::try_cast(start, offsets, false) || !nb::try_cast(column, columns, false) ||
        !nb::try_cast(value, values, false))
        return false;
    require(offsets.shape(0) > 0 && columns.shape(0) == values.shape(0), "start, column and value do not fit together");
    nb::gil_scoped_release release;
    result = check_entries(offsets.data(), columns.data(), values.data(),
                     static_cast<std::int64_t>(offsets.shape(0)) - 1, threads);
    return true;
}

template <class T>
bool try_check_entries(nb::handle start, nb::handle column, nb::handle value, int threads, EntryCheck &result) {
    return try_check_entries<std::int64_t, std::int32_t, T>(start, column, value, threads, result) ||
           try_check_entries<std::int32_t, std::int32_t, T>(start, column, value, threads, result) ||
           try_check_entries<std::int64_t, std::int64_t, T>(start, column, value, threads, result) ||
           try_check_entries<std::int32_t, std::int64_t, T>(start, column, value, threads, result);
}

template <class T>
void bind(nb::module_ &m) {
    // (exact, row, entry, mirror entry or -1); row is -1 where all differences are rounding.
    m.def("compare_mirrors", [](Offsets start, Nodes column, Vector<const T> value, double tolerance, int threads) {
        const CompressedRows<T> rows = rows_of<T>(start, column, value);
        Asymmetry m;
        {
            nb::gil_scoped_release release;
            m = compare_mirrors(rows, tolerance, threads);
        }
        return nb::make_tuple(m.exact, m.row, m.entry, m.mirror);
    });
}

}  // namespace

void bind_row_checks(nb::module_ &m) {
    // (first entry that is not finite or -1, first whose column does not exist or -1, sorted without duplicates)
    m.def("inspect_rows", [](nb::handle start, nb::handle column, nb::handle value, int threads) {
        EntryCheck s;
        require(try_check_entries<double>(start, column, value, threads, s) ||
                    try_check_entries<float>(start, column, value, threads, s),
                "not the arrays of compressed rows");
        return nb::make_tuple(s.not_finite, s.outside, s.sorted);
    });
    bind<float>(m);
    bind<double>(m);
}

}  // namespace gabp
