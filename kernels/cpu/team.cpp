#include "team.hpp"

#include <algorithm>

namespace gabp {
namespace {

constexpr int spins_before_yield = 2000;
constexpr int yields_before_sleep = 200;
constexpr std::uint32_t open = 1u << 31;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

}  // namespace

Team::Team(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
}

Team::~Team() {
    stop_ = true;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        loop_.fetch_add(1);
    }
    wake_.notify_all();
    for (std::thread &worker : workers_) worker.join();
}

void Team::take_tasks() {
    for (std::int64_t i = next_.fetch_add(1); i < tasks_; i = next_.fetch_add(1)) call_(context_, i);
}

void Team::run(Call call, void *context, std::int64_t tasks) {
    call_ = call;
    context_ = context;
    tasks_ = tasks;
    next_.store(0);
    gate_.store(open);
    loop_.fetch_add(1);
    if (asleep_.load() > 0) {
        { std::lock_guard<std::mutex> lock(mutex_); }  // a worker between its last look and its sleep must hear it
        wake_.notify_all();
    }
    take_tasks();
    // Workers inside are waited for; one that comes late finds the gate shut and has missed nothing.
    gate_.fetch_and(~open);
    for (int i = 0; gate_.load() > 0; ++i) {
        if (i < spins_before_yield)
            pause();
        else
            std::this_thread::yield();
    }
}

void Team::wait_for_loop(std::uint64_t seen) {
    for (int i = 0; i < spins_before_yield; ++i) {
        if (loop_.load() != seen) return;
        pause();
    }
    for (int i = 0; i < yields_before_sleep; ++i) {
        if (loop_.load() != seen) return;
        std::this_thread::yield();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    asleep_.fetch_add(1);
    wake_.wait(lock, [&] { return loop_.load() != seen; });
    asleep_.fetch_sub(1);
}

void Team::work() {
    std::uint64_t seen = 0;
    for (;;) {
        wait_for_loop(seen);
        if (stop_) return;
        seen = loop_.load();
        std::uint32_t gate = gate_.load();
        while ((gate & open) && !gate_.compare_exchange_weak(gate, gate + 1)) {
        }
        if (!(gate & open)) continue;
        seen = loop_.load();  // the loop cannot change while this worker is inside
        take_tasks();
        gate_.fetch_sub(1);
    }
}

}  // namespace gabp
