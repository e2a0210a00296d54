#include "common/array.hpp"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gabp {
namespace {

constexpr std::int64_t large_page = std::int64_t(1) << 21;
constexpr std::int64_t most_idle = std::int64_t(256) << 20;  // bytes: what a system of a million unknowns uses

struct Pages {
    void *address;
    std::int64_t size;
};

void release(const Pages &pages) { std::free(pages.address); }

// Large blocks that were released wait to be used again: the system takes longer to map and clear fresh pages than
// a sweep takes to stream through them. They are marked as free, so that it can have them back when memory is short.
// Who finds the pool locked, as a child forked in the middle of it does for ever, does without.
class Idle {
public:
    bool take(std::int64_t size, Pages &pages) {
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock()) return false;
        auto best = blocks_.end();
        for (auto b = blocks_.begin(); b != blocks_.end(); ++b)
            if (b->size >= size && b->size <= 2 * size && (best == blocks_.end() || b->size < best->size)) best = b;
        if (best == blocks_.end()) return false;
        pages = *best;
        bytes_ -= best->size;
        blocks_.erase(best);
        return true;
    }

    bool keep(const Pages &pages) {
        const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock() || bytes_ + pages.size > most_idle) return false;
#if defined(__linux__) && defined(MADV_FREE)
        madvise(pages.address, static_cast<std::size_t>(pages.size), MADV_FREE);
#endif
        blocks_.push_back(pages);
        bytes_ += pages.size;
        return true;
    }

private:
    std::mutex mutex_;
    std::vector<Pages> blocks_;
    std::int64_t bytes_ = 0;
};

Idle &idle() {
    static Idle *const instance = new Idle;  // never destroyed: arrays may be released as the process ends
    return *instance;
}

Pages acquire(std::int64_t bytes) {
    const std::int64_t unit = bytes >= large_page ? large_page : 64;
    Pages pages{nullptr, (bytes + unit - 1) / unit * unit};
    if (unit == large_page && idle().take(pages.size, pages)) return pages;
    pages.address = std::aligned_alloc(static_cast<std::size_t>(unit), static_cast<std::size_t>(pages.size));
    if (pages.address == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (unit == large_page) madvise(pages.address, static_cast<std::size_t>(pages.size), MADV_HUGEPAGE);
#endif
    return pages;
}

}  // namespace

// A loop over ten arrays that all begin at the same place of a page would fight over the same cache lines, so
// each begins at another; what to release is kept in front of it.
void *allocate_pages(std::int64_t bytes) {
    static std::atomic<unsigned> allocated{0};
    const std::int64_t stagger = 64 * (1 + 5 * static_cast<std::int64_t>(allocated.fetch_add(1) % 12));
    const Pages pages = acquire(bytes + stagger);
    char *data = static_cast<char *>(pages.address) + stagger;
    *(reinterpret_cast<Pages *>(data) - 1) = pages;
    return data;
}

void release_pages(void *data) {
    if (data == nullptr) return;
    const Pages pages = *(static_cast<Pages *>(data) - 1);
    if (pages.size < large_page || !idle().keep(pages)) release(pages);
}

}  // namespace gabp
