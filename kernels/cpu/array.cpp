#include "array.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gabp {
namespace {

constexpr std::int64_t large_page = std::int64_t(1) << 21;

}  // namespace

// A loop over ten arrays that all begin at the same place of a page would fight over the same cache lines, so
// each begins at another; the address to free is kept in front of it.
void *allocate_pages(std::int64_t bytes) {
    static std::atomic<unsigned> allocated{0};
    const std::int64_t stagger = 64 * (1 + 5 * static_cast<std::int64_t>(allocated.fetch_add(1) % 12));
    const std::int64_t unit = bytes >= large_page ? large_page : 64;
    const std::int64_t size = (bytes + stagger + unit - 1) / unit * unit;
    char *pages = static_cast<char *>(std::aligned_alloc(static_cast<std::size_t>(unit), static_cast<std::size_t>(size)));
    if (pages == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (unit == large_page) madvise(pages, static_cast<std::size_t>(size), MADV_HUGEPAGE);
#endif
    void **data = reinterpret_cast<void **>(pages + stagger);
    data[-1] = pages;
    return data;
}

void release_pages(void *data) {
    if (data != nullptr) std::free(static_cast<void **>(data)[-1]);
}

}  // namespace gabp
