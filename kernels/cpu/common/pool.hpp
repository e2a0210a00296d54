// A thread pool for the chunks of a loop. Unlike OpenMP's barrier, which waits for every thread of the team, the caller
// waits only for chunks that a thread has started, so a preempted worker delays nothing but its own chunk. Chunks are
// assigned dynamically; bodies write disjoint memory and reduce per chunk, so that results do not depend on it.
#pragma once

#include <cstdint>

namespace gabp {

using ChunkBody = void (*)(const void *context, std::int64_t chunk);

// Calls body(context, chunk) once for every chunk in [0, chunks), on at most `threads` threads.
void run_chunks(int threads, std::int64_t chunks, ChunkBody body, const void *context);

template <class Body>
void for_chunks(int threads, std::int64_t chunks, const Body &body) {
    run_chunks(
        threads, chunks,
        [](const void *context, std::int64_t chunk) { (*static_cast<const Body *>(context))(chunk); }, &body);
}

// for_chunks over [0, count) in pieces of `grain`: body(first, last).
template <class Body>
void for_ranges(int threads, std::int64_t count, std::int64_t grain, const Body &body) {
    for_chunks(threads, (count + grain - 1) / grain, [&](std::int64_t chunk) {
        const std::int64_t first = chunk * grain;
        body(first, first + grain < count ? first + grain : count);
    });
}

}  // namespace gabp
