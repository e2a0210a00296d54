#include "common/pool.hpp"

#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace gabp {
namespace {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
}

// About 50 microseconds: longer than the gap between two sweeps, far shorter than a time slice.
constexpr int spins_before_sleep = 2000;

class Pool {
public:
    void run(int threads, std::int64_t chunks, ChunkBody body, const void *context) {
        std::unique_lock<std::mutex> lock(running_, std::try_to_lock);
        // The workers serve another caller: run serially.
        if (threads <= 1 || chunks <= 1 || !lock.owns_lock()) {
            for (std::int64_t chunk = 0; chunk < chunks; ++chunk) body(context, chunk);
            return;
        }
        if (chunks > std::numeric_limits<std::uint32_t>::max()) throw std::length_error("too many chunks");
        while (static_cast<int>(workers_) < threads - 1) {
            std::thread(&Pool::work, this, workers_).detach();
            ++workers_;
        }
        body_.store(body, std::memory_order_relaxed);
        context_.store(context, std::memory_order_relaxed);
        chunks_.store(chunks, std::memory_order_relaxed);
        invited_.store(static_cast<unsigned>(threads - 1), std::memory_order_relaxed);
        finished_.store(0, std::memory_order_relaxed);
        generation_ = (generation_ + 1) & 0xffffffffu;
        ticket_.store(generation_ << 32 | static_cast<std::uint64_t>(chunks), std::memory_order_seq_cst);
        if (sleepers_.load(std::memory_order_seq_cst) > 0) {
            std::lock_guard<std::mutex> guard(sleep_);
            wake_.notify_all();
        }
        take_chunks();
        for (int spin = 0; finished_.load(std::memory_order_acquire) != chunks; ++spin) {
            if (spin < spins_before_sleep) relax();
            else std::this_thread::yield();
        }
    }

private:
    // The ticket holds the job's generation and its remaining chunks in one word: a late worker sees another generation
    // and cannot take a chunk of the wrong job. While chunks remain, the job's other fields do not change.
    bool take_chunks() {
        bool any = false;
        std::uint64_t ticket = ticket_.load(std::memory_order_seq_cst);
        while ((ticket & 0xffffffffu) != 0) {
            const ChunkBody body = body_.load(std::memory_order_relaxed);
            const void *context = context_.load(std::memory_order_relaxed);
            const std::int64_t chunks = chunks_.load(std::memory_order_relaxed);
            if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                               std::memory_order_acquire))
                continue;
            body(context, chunks - static_cast<std::int64_t>(ticket & 0xffffffffu));
            finished_.fetch_add(1, std::memory_order_release);
            any = true;
            ticket = ticket_.load(std::memory_order_acquire);
        }
        return any;
    }

    bool has_work(unsigned self) const {
        return (ticket_.load(std::memory_order_seq_cst) & 0xffffffffu) != 0 &&
               self < invited_.load(std::memory_order_relaxed);
    }

    void work(unsigned self) {
        for (;;) {
            int spin = 0;
            while (spin < spins_before_sleep) {
                if (has_work(self) && take_chunks()) spin = 0;
                relax();
                ++spin;
            }
            std::unique_lock<std::mutex> lock(sleep_);
            sleepers_.fetch_add(1, std::memory_order_seq_cst);
            wake_.wait(lock, [&] { return has_work(self); });
            sleepers_.fetch_sub(1, std::memory_order_relaxed);
        }
    }

    std::mutex running_;  // locked by the caller that the workers serve
    std::mutex sleep_;
    std::condition_variable wake_;
    unsigned workers_ = 0;
    std::uint64_t generation_ = 0;
    std::atomic<int> sleepers_{0};
    std::atomic<unsigned> invited_{0};
    std::atomic<ChunkBody> body_{nullptr};
    std::atomic<const void *> context_{nullptr};
    std::atomic<std::int64_t> chunks_{0};
    alignas(64) std::atomic<std::uint64_t> ticket_{0};
    alignas(64) std::atomic<std::int64_t> finished_{0};
};

// Never destroyed: workers may still sleep in it when the process ends.
Pool *&pool() {
    static Pool *instance = [] {
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, [] { pool() = new Pool; });  // threads do not survive a fork
#endif
        return new Pool;
    }();
    return instance;
}

}  // namespace

void run_chunks(int threads, std::int64_t chunks, ChunkBody body, const void *context) {
    if (threads <= 1 || chunks <= 1) {
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) body(context, chunk);
        return;
    }
    pool()->run(threads, chunks, body, context);
}

}  // namespace gabp
