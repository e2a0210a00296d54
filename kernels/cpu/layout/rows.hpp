// A sparse matrix compressed by rows, and parallel loops over its rows in tasks of about equally many entries.
#pragma once

#include "bindings/tensors.hpp"
#include "common/pool.hpp"

#include <algorithm>
#include <cstdint>

namespace gabp {

constexpr std::int64_t entries_per_task = 1 << 15;

// Rows cut into tasks of about `entries_per_task` entries and rows.
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

template <class T>
struct CompressedRows {
    const std::int64_t *start;
    const std::int32_t *column;
    const T *value;
    std::int64_t n;

    // The entry (i, j), or -1. Columns are ascending.
    std::int64_t find(std::int64_t i, std::int32_t j) const {
        constexpr std::ptrdiff_t few = 32;  // up to so many a linear search, whose branches are predictable
        const std::int32_t *at = column + start[i], *end = column + start[i + 1];
        if (end - at > few) at = std::lower_bound(at, end, j);
        else
            while (at != end && *at < j) ++at;
        return at != end && *at == j ? at - column : -1;
    }
    T at(std::int64_t entry) const { return entry < 0 ? T(0) : value[entry]; }
};

template <class T>
CompressedRows<T> rows_of(const Offsets &start, const Nodes &column, const Vector<const T> &value) {
    require(start.shape(0) > 0 && column.shape(0) == value.shape(0), "start, column and value do not fit together");
    return {start.data(), column.data(), value.data(), static_cast<std::int64_t>(start.shape(0)) - 1};
}

}  // namespace gabp
