#include "hierarchy/level_matrix.hpp"

#include <algorithm>

namespace gabp {
namespace {

constexpr std::int32_t shortest_run = 16;
constexpr std::int32_t rows_per_block = 65536;
constexpr std::int32_t block_multiple = 4;  // of which the number of blocks is a multiple, for even threads
constexpr std::int32_t largest_block_count = 64;

struct Split {
    std::int64_t left, lower, upper;  // first in-block lower coupling, first in-block upper, first beyond the block
};

// How a row's couplings divide into those of earlier blocks, lower, upper, and those of later blocks.
template <class W>
Split split_row(const RowsView<W> &rows, std::int32_t i, std::int32_t begin, std::int32_t end) {
    std::int64_t e = rows.start[i];
    const std::int64_t stop = rows.start[i + 1];
    Split s;
    while (e < stop && rows.column[e] < begin) ++e;
    s.left = e;
    while (e < stop && rows.column[e] < i) ++e;
    s.lower = e;
    while (e < stop && rows.column[e] < end) ++e;
    s.upper = e;
    return s;
}

struct BlockLayout {
    std::vector<SweepRun> run;
    std::vector<std::int32_t> distance;
    std::int64_t pointers = 0, regular_low = 0, regular_rest = 0, low = 0, rest = 0, regular_rows = 0, cross = 0;
};

// How many rows from row i on have neighbours at the same distances, split in the same way: `first` is row i's.
template <class W>
std::int32_t count_same_pattern(const RowsView<W> &rows, std::int32_t i, std::int32_t begin, std::int32_t end,
                         const Split &first) {
    const std::int64_t from = rows.start[i], degree = rows.start[i + 1] - from;
    std::int32_t last = end;  // before a coupling moves into the block, or out of it
    if (first.left > from) last = std::min(last, i + begin - rows.column[first.left - 1]);
    if (first.upper > first.lower) last = std::min(last, i + end - rows.column[first.upper - 1]);
    std::int32_t row = i + 1;
    for (; row < last; ++row) {
        const std::int64_t here = from + (row - i) * degree;
        if (rows.start[row + 1] - here != degree) break;
        std::int32_t off = 0;
        for (std::int64_t k = 0; k < degree; ++k) off |= rows.column[here + k] - rows.column[here - degree + k] - 1;
        if (off != 0) break;
    }
    return row - i;
}

// Finds the runs of a block; the offsets into the stores are relative to the block.
template <class W>
BlockLayout find_runs(const RowsView<W> &rows, std::int32_t begin, std::int32_t end) {
    BlockLayout layout;
    std::int32_t pending = begin;  // rows [pending, i) belong to the next irregular run
    const auto close_irregular = [&](std::int32_t stop) {
        if (stop == pending) return;
        SweepRun run{pending, stop, 0, 0, 0, 0, layout.pointers, layout.low, layout.rest};
        for (std::int32_t i = pending; i < stop; ++i) {
            const Split s = split_row(rows, i, begin, end);
            const std::int64_t lower = s.lower - s.left, degree = rows.start[i + 1] - rows.start[i];
            layout.low += lower;
            layout.rest += degree - lower;
            layout.cross += degree - (s.upper - s.left);
        }
        layout.pointers += stop - pending + 1;
        layout.run.push_back(run);
    };
    for (std::int32_t i = begin; i < end;) {
        const Split first = split_row(rows, i, begin, end);
        const std::int32_t stop = i + count_same_pattern(rows, i, begin, end, first);
        if (stop - i < shortest_run) {
            i = stop;
            continue;
        }
        close_irregular(i);
        const std::int64_t length = stop - i, from = rows.start[i], to = rows.start[i + 1];
        const auto lower = static_cast<std::int32_t>(first.lower - first.left);
        const auto upper = static_cast<std::int32_t>(first.upper - first.lower);
        const auto cross = static_cast<std::int32_t>((to - from) - lower - upper);
        layout.run.push_back({i, stop, lower, cross, upper, 1, static_cast<std::int64_t>(layout.distance.size()),
                              layout.regular_low, layout.regular_rest});
        for (std::int64_t e = first.left; e < first.lower; ++e) layout.distance.push_back(rows.column[e] - i);
        for (std::int64_t e = from; e < first.left; ++e) layout.distance.push_back(rows.column[e] - i);
        for (std::int64_t e = first.upper; e < to; ++e) layout.distance.push_back(rows.column[e] - i);
        for (std::int64_t e = first.lower; e < first.upper; ++e) layout.distance.push_back(rows.column[e] - i);
        layout.regular_low += length * lower;
        layout.regular_rest += length * (cross + upper);
        layout.regular_rows += length;
        layout.cross += length * cross;
        pending = i = stop;
    }
    close_irregular(end);
    return layout;
}

// Copies the couplings of a regular run, distance by distance, a chunk of rows at a time.
template <class W, class V>
void fill_regular(const RowsView<W> &rows, const SweepRun &run, const std::int32_t *distance, V *low, V *rest) {
    const std::int64_t length = run.end - run.begin, from = rows.start[run.begin];
    const std::int64_t degree = run.lower + run.cross + run.upper;
    std::int64_t left = 0;  // couplings to earlier blocks, which lead the row
    while (left < run.cross && distance[run.lower + left] < 0) ++left;
    for (std::int64_t t = 0; t < length; t += chunk_rows) {
        const std::int64_t stop = std::min<std::int64_t>(t + chunk_rows, length);
        const auto copy = [&](V *into, std::int64_t slot) {
            const W *weight = rows.weight + from + slot;
            for (std::int64_t row = t; row < stop; ++row) into[row] = static_cast<V>(weight[row * degree]);
        };
        for (std::int64_t k = 0; k < run.lower; ++k) copy(low + run.low + k * length, left + k);
        for (std::int64_t k = 0; k < run.cross; ++k)
            copy(rest + run.rest + k * length, k < left ? k : run.lower + run.upper + k);
        for (std::int64_t k = 0; k < run.upper; ++k)
            copy(rest + run.rest + (run.cross + k) * length, left + run.lower + k);
    }
}

// Copies the couplings of a block into its runs; low and rest may be float or double.
template <class W, class V>
void fill_values(const RowsView<W> &rows, const LevelMatrix &m, int k, V *low, V *rest) {
    const std::int32_t begin = m.block[k], end = m.block[k + 1];
    for (std::int32_t r = m.block_run[k]; r < m.block_run[k + 1]; ++r) {
        const SweepRun &run = m.run[r];
        if (run.regular) {
            fill_regular(rows, run, m.distance.data() + run.pattern, low, rest);
            continue;
        }
        std::int64_t at = run.low, to = run.rest;
        for (std::int32_t i = run.begin; i < run.end; ++i) {
            const Split s = split_row(rows, i, begin, end);
            const auto put = [&](V *into, std::int64_t &position, std::int64_t from, std::int64_t stop) {
                for (std::int64_t e = from; e < stop; ++e) into[position++] = static_cast<V>(rows.weight[e]);
            };
            put(low, at, s.left, s.lower);
            put(rest, to, rows.start[i], s.left);
            put(rest, to, s.upper, rows.start[i + 1]);
            put(rest, to, s.lower, s.upper);
        }
    }
}

// Whether float32 holds every coupling of a block exactly.
template <class W>
bool exact_in_float(const RowsView<W> &rows, std::int32_t begin, std::int32_t end) {
    bool exact = true;
    for (std::int64_t e = rows.start[begin]; e < rows.start[end]; ++e)
        exact &= static_cast<W>(static_cast<float>(rows.weight[e])) == rows.weight[e];
    return exact;
}

template <class W>
void fill_columns(const RowsView<W> &rows, LevelMatrix &m, int k) {
    const std::int32_t begin = m.block[k], end = m.block[k + 1];
    for (std::int32_t r = m.block_run[k]; r < m.block_run[k + 1]; ++r) {
        const SweepRun &run = m.run[r];
        if (run.regular) continue;
        std::int64_t low = run.low, rest = run.rest, pointer = run.pattern;
        for (std::int32_t i = run.begin; i < run.end; ++i, ++pointer) {
            const Split s = split_row(rows, i, begin, end);
            m.low_start[pointer] = low;
            m.rest_start[pointer] = rest;
            for (std::int64_t e = s.left; e < s.lower; ++e) m.low_column[low++] = rows.column[e];
            for (std::int64_t e = rows.start[i]; e < s.left; ++e) m.rest_column[rest++] = rows.column[e];
            for (std::int64_t e = s.upper; e < rows.start[i + 1]; ++e) m.rest_column[rest++] = rows.column[e];
            m.rest_split[pointer] = rest;
            for (std::int64_t e = s.lower; e < s.upper; ++e) m.rest_column[rest++] = rows.column[e];
        }
        m.low_start[pointer] = low;
        m.rest_start[pointer] = rest;
        m.rest_split[pointer] = rest;
    }
}

// Joins the runs of all blocks and allocates the stores. Irregular couplings lead the stores, so that the column arrays
// end with them.
void join_runs(const std::vector<BlockLayout> &layout, LevelMatrix &m) {
    std::int64_t low = 0, rest = 0, pointers = 0;
    for (const BlockLayout &l : layout) {
        low += l.low;
        rest += l.rest;
        pointers += l.pointers;
        m.regular_rows += l.regular_rows;
        m.cross_couplings += l.cross;
    }
    std::int64_t low_at = 0, rest_at = 0, pointer_at = 0, regular_low = low, regular_rest = rest;
    m.block_run.push_back(0);
    for (const BlockLayout &l : layout) {
        const auto distance_at = static_cast<std::int64_t>(m.distance.size());
        for (SweepRun run : l.run) {
            run.pattern += run.regular ? distance_at : pointer_at;
            run.low += run.regular ? regular_low : low_at;
            run.rest += run.regular ? regular_rest : rest_at;
            m.run.push_back(run);
        }
        m.distance.insert(m.distance.end(), l.distance.begin(), l.distance.end());
        m.block_run.push_back(static_cast<std::int32_t>(m.run.size()));
        low_at += l.low;
        rest_at += l.rest;
        pointer_at += l.pointers;
        regular_low += l.regular_low;
        regular_rest += l.regular_rest;
    }
    m.low_start = Array<std::int64_t>(pointers);
    m.rest_start = Array<std::int64_t>(pointers);
    m.rest_split = Array<std::int64_t>(pointers);
    m.low_column = Array<std::int32_t>(low);
    m.rest_column = Array<std::int32_t>(rest);
    m.low = Array<float>(regular_low);
    m.rest = Array<float>(regular_rest);
}

}  // namespace

std::vector<std::int32_t> row_blocks(std::int32_t n) {
    std::int32_t blocks = 1;
    if (n >= serial_rows)
        blocks = std::min((n / rows_per_block / block_multiple + 1) * block_multiple, largest_block_count);
    std::vector<std::int32_t> block(static_cast<std::size_t>(blocks) + 1);
    for (std::int32_t k = 0; k <= blocks; ++k)
        block[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(std::int64_t(n) * k / blocks);
    return block;
}

SweepView LevelMatrix::view() const {
    return {run.data(),         distance.data(),  low_start.data(),  rest_start.data(),     rest_split.data(),
            low_column.data(),  rest_column.data(), low.data(),      rest.data(),           low_exact.data(),
            rest_exact.data(),  diagonal.data(),  inverse_pivot.data(), excess.data(),      diagonal_exact.data(),
            aggregate.data(),     norm_weight.data()};
}

std::int64_t LevelMatrix::bytes() const {
    return low_start.bytes() + rest_start.bytes() + rest_split.bytes() + low_column.bytes() + rest_column.bytes() +
           low.bytes() + rest.bytes() + low_exact.bytes() + rest_exact.bytes() + diagonal.bytes() +
           inverse_pivot.bytes() + excess.bytes() + norm_weight.bytes() + diagonal_exact.bytes() + aggregate.bytes() +
           static_cast<std::int64_t>(run.size() * sizeof(SweepRun) + distance.size() * sizeof(std::int32_t));
}

template <class W>
LevelMatrix build_level_matrix(const RowsView<W> &rows, bool exact, Team &team) {
    LevelMatrix m;
    m.n = rows.n;
    m.couplings = rows.start[rows.n];
    m.block = row_blocks(rows.n);
    const int blocks = m.blocks();
    std::vector<BlockLayout> layout(static_cast<std::size_t>(blocks));
    team.each(blocks, [&](std::int64_t k) { layout[k] = find_runs(rows, m.block[k], m.block[k + 1]); });
    join_runs(layout, m);
    m.diagonal = Array<float>(m.n);
    if (exact) m.diagonal_exact = Array<double>(m.n);
    std::vector<char> inexact(static_cast<std::size_t>(blocks));
    team.each(blocks, [&](std::int64_t k) {
        fill_columns(rows, m, static_cast<int>(k));
        fill_values(rows, m, static_cast<int>(k), m.low.data(), m.rest.data());
        inexact[k] = exact && !exact_in_float(rows, m.block[k], m.block[k + 1]);
        for (std::int32_t i = m.block[k]; i < m.block[k + 1]; ++i) {
            m.diagonal[i] = static_cast<float>(rows.diagonal[i]);
            if (exact) m.diagonal_exact[i] = rows.diagonal[i];
        }
    });
    if (std::find(inexact.begin(), inexact.end(), 1) == inexact.end()) return m;
    m.low_exact = Array<double>(m.low.size());
    m.rest_exact = Array<double>(m.rest.size());
    team.each(blocks, [&](std::int64_t k) {
        fill_values(rows, m, static_cast<int>(k), m.low_exact.data(), m.rest_exact.data());
    });
    return m;
}

template LevelMatrix build_level_matrix(const RowsView<float> &, bool, Team &);
template LevelMatrix build_level_matrix(const RowsView<double> &, bool, Team &);

}  // namespace gabp
