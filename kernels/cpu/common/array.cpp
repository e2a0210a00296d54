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
constexpr std::int64_t most_kept = std::int64_t(256) << 20;  // bytes: what a system of a million unknowns uses

struct Pages {
    void *address;
    std::int64_t size;
};

void release(const Pages &pages) { std::free(pages.address); }

// A free list of large blocks: mapping and clearing fresh pages takes longer than a sweep over them. Its pages are
// marked MADV_FREE, so that the system can reclaim them. A caller that finds it locked, as a child forked while it was
// locked always does, allocates instead.
class FreeList {
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
        if (!lock.owns_lock() || bytes_ + pages.size > most_kept) return false;
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

FreeList &free_list() {
    static FreeList *const instance = new FreeList;  // never destroyed: arrays may be released as the process ends
    return *instance;
}

Pages acquire(std::int64_t bytes) {
    const std::int64_t unit = bytes >= large_page ? large_page : 64;
    Pages pages{nullptr, (bytes + unit - 1) / unit * unit};
    if (unit == large_page && free_list().take(pages.size, pages)) return pages;
    pages.address = std::aligned_alloc(static_cast<std::size_t>(unit), static_cast<std::size_t>(pages.size));
    if (pages.address == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (unit == large_page) madvise(pages.address, static_cast<std::size_t>(pages.size), MADV_HUGEPAGE);
#endif
    return pages;
}

}  // namespace

// Arrays at the same offset of a page would compete for the same cache sets in one loop, so their offsets differ; the
// pages to release are recorded in front of the data.
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
    if (pages.size < large_page || !free_list().keep(pages)) release(pages);
}

}  // namespace gabp
