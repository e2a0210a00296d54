// A team of threads for loops of a few hundred microseconds that follow each other closely.
//
// The tasks of a loop are handed out one by one, so a thread that has lost its core costs its share and no
// more; a thread without work spins briefly, then gives its core away, then sleeps. OpenMP's threads would
// spin through the serial stretches (coarse levels) and at every barrier.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace gabp {

class Team {
public:
    explicit Team(int threads);
    ~Team();
    Team(const Team &) = delete;
    Team &operator=(const Team &) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Calls task(0), ..., task(tasks - 1), each once, in any order and on any thread; returns when all are done.
    template <class Task>
    void each(std::int64_t tasks, Task &&task) {
        if (tasks <= 1 || workers_.empty()) {
            for (std::int64_t i = 0; i < tasks; ++i) task(i);
            return;
        }
        using Callable = std::remove_reference_t<Task>;
        run([](void *context, std::int64_t i) { (*static_cast<Callable *>(context))(i); },
            const_cast<void *>(static_cast<const void *>(&task)), tasks);
    }

private:
    using Call = void (*)(void *, std::int64_t);
    void run(Call call, void *context, std::int64_t tasks);
    void work();
    void take_tasks();
    void wait_for_loop(std::uint64_t seen);

    std::vector<std::thread> workers_;
    Call call_ = nullptr;
    void *context_ = nullptr;
    std::int64_t tasks_ = 0;
    std::atomic<std::int64_t> next_{0};
    std::atomic<std::uint64_t> loop_{0};  // counts the loops begun
    std::atomic<std::uint32_t> gate_{0};  // whether a loop is open, and how many workers are inside
    std::atomic<int> asleep_{0};
    std::atomic<bool> stop_{false};
    std::mutex mutex_;
    std::condition_variable wake_;
};

}  // namespace gabp
