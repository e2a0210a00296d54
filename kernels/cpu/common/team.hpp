// The threads that share the loops of one solve.
#pragma once

#include "common/pool.hpp"

#include <algorithm>

namespace gabp {

class Team {
public:
    explicit Team(int threads) : threads_(std::max(threads, 1)) {}
    int threads() const { return threads_; }

    // Calls task(0), ..., task(tasks - 1), each once, in any order and on any thread; returns when all are done.
    template <class Task>
    void each(std::int64_t tasks, const Task &task) const {
        for_chunks(threads_, tasks, task);
    }

private:
    int threads_;
};

}  // namespace gabp
