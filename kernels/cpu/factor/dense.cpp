#include "factor/dense.hpp"

#include "common/cpu_dispatch.hpp"
#include "common/pool.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace gabp::dense {
namespace {

const Kernels &choose_kernels() {
#ifdef GABP_X86
    if (!std::strcmp(instruction_set().name, "v4")) return v4::kernels;
    if (!std::strcmp(instruction_set().name, "v3")) return v3::kernels;
#endif
    return plain::kernels;
}

const Kernels &kernels() {
    static const Kernels &chosen = choose_kernels();
    return chosen;
}

double *workspace() {
    constexpr std::size_t alignment = 64;
    struct Free {
        void operator()(double *p) const { std::free(p); }
    };
    thread_local std::unique_ptr<double, Free> buffer;
    if (!buffer) {
        buffer.reset(static_cast<double *>(std::aligned_alloc(alignment, workspace_doubles * sizeof(double))));
        if (!buffer) throw std::bad_alloc();
    }
    return buffer.get();
}

constexpr Index chunk_rows = 2 * block_rows;
constexpr Index chunk_columns = block_columns / 2;
constexpr double worth_threads = 3e6;  // multiplications

// One chunk of c; chunks are independent of each other and of the threads.
void multiply_chunk(const Product &p, Index chunk, Index chunks_down) {
    const Index i = (chunk % chunks_down) * chunk_rows;
    const Index j = (chunk / chunks_down) * chunk_columns;
    Product part = p;
    part.m = std::min(chunk_rows, p.m - i);
    part.n = std::min(chunk_columns, p.n - j);
    part.a += i * p.a_row;
    part.b += j * p.b_column;
    part.c += i + j * p.ld;
    part.offset += i - j;
    if (p.lower && part.m - 1 + part.offset < 0) return;
    kernels().multiply(part, workspace());
}

template <class Work>
void in_strips(Index m, Index n, int threads, Work work) {
    const Index strips = (m + chunk_rows - 1) / chunk_rows;
    const auto strip = [&](Index s) { work(s * chunk_rows, std::min(chunk_rows, m - s * chunk_rows)); };
    for_chunks(static_cast<double>(m * n * n) < worth_threads ? 1 : threads, strips, strip);
}

Index left_half(Index n) { return (n / 2 + narrow - 1) / narrow * narrow; }

}  // namespace

void multiply(const Product &p, int threads) {
    if (p.m == 0 || p.n == 0 || p.k == 0) return;
    const Index down = (p.m + chunk_rows - 1) / chunk_rows;
    const Index chunks = down * ((p.n + chunk_columns - 1) / chunk_columns);
    const double work = static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    for_chunks(work < worth_threads ? 1 : threads, chunks, [&](Index chunk) { multiply_chunk(p, chunk, down); });
}

Index cholesky(double *a, Index ld, Index h, Index n, int threads) {
    if (n <= narrow) {
        const Index bad = kernels().cholesky_narrow(a, ld, n);
        if (bad < 0) {
            in_strips(h - n, n, threads, [&](Index i, Index rows) {
                kernels().solve_transposed_narrow(a + n + i, ld, rows, a, ld, n);
            });
        }
        return bad;
    }
    const Index half = left_half(n);
    const Index bad = cholesky(a, ld, h, half, threads);
    if (bad >= 0) return bad;
    double *rest = a + half + half * ld;
    multiply({h - half, n - half, half, a + half, 1, ld, a + half, ld, 1, rest, ld, -1.0, true, 0}, threads);
    const Index later = cholesky(rest, ld, h - half, n - half, threads);
    return later < 0 ? later : half + later;
}

void solve(double *x, Index ldx, Index m, const double *l, Index ldl, Index n, bool triangular, int threads) {
    if (n <= narrow) {
        in_strips(m, n, threads,
                  [&](Index i, Index rows) { kernels().solve_narrow(x + i, ldx, rows, l, ldl, n); });
        return;
    }
    const Index half = left_half(n);
    const Index top = triangular ? half : 0;  // the rows above are zero in the right half
    double *right = x + top + half * ldx;
    solve(right, ldx, m - top, l + half + half * ldl, ldl, n - half, triangular, threads);
    multiply({m - top, half, n - half, right, 1, ldx, l + half, 1, ldl, x + top, ldx, -1.0, false, 0}, threads);
    solve(x, ldx, m, l, ldl, half, triangular, threads);
}

}  // namespace gabp::dense
