// Selected inversion (Takahashi, Fagan and Chen 1973), front by front from the roots down: with J the columns of
// a front, R its rows, Y = L_RJ L_JJ⁻¹ and Z = A⁻¹,
//     Z_RJ = -Z_RR Y,    Z_JJ = L_JJ⁻ᵀ L_JJ⁻¹ - Yᵀ Z_RJ,
// where Z_RR is part of the parent's front, which is released after its last child has copied it.
#include "factor/dense.hpp"
#include "factor/factor.hpp"
#include "common/pool.hpp"

#include <algorithm>
#include <atomic>
#include <new>

namespace gabp {
namespace {

using dense::Index;

struct Scratch {
    explicit Scratch(std::int32_t n) : place(new std::int32_t[n]) {}  // never read before written
    std::unique_ptr<std::int32_t[]> place;   // of a column of the matrix in the front at hand
    std::vector<std::int32_t> parent_place;  // of this front's rows in the parent's front
};

class Inversion {
public:
    Inversion(const Factor &factor, const Pattern &pattern, double *diagonal, double *weight)
        : factor_(factor),
          symbolic_(factor.symbolic()),
          pattern_(pattern),
          diagonal_(diagonal),
          weight_(weight),
          front_(symbolic_.fronts()),
          waiting_(symbolic_.fronts()) {
        for (std::int32_t s = 0; s < symbolic_.fronts(); ++s) {
            waiting_[s] = symbolic_.child_start[s + 1] - symbolic_.child_start[s];
        }
    }

    void run(int threads) {
        Scratch scratch(symbolic_.nodes());
        for (auto s = symbolic_.top.rbegin(); s != symbolic_.top.rend(); ++s) invert(*s, scratch, threads);
        const auto subtrees = static_cast<std::int32_t>(symbolic_.subtree_root.size());
        std::atomic<bool> out_of_memory{false};
        for_chunks(threads, subtrees, [&](std::int64_t t) {
            try {
                Scratch own(symbolic_.nodes());
                for (std::int32_t s = symbolic_.subtree_root[t]; s >= symbolic_.subtree_first[t]; --s) {
                    invert(s, own, 1);
                }
            } catch (const std::bad_alloc &) {
                out_of_memory = true;
            }
        });
        if (out_of_memory) throw std::bad_alloc();
    }

private:
    void invert(std::int32_t s, Scratch &scratch, int threads) {
        const Index columns = symbolic_.columns(s), rows = symbolic_.rows(s), height = columns + rows;
        const double *panel = factor_.panel(s);
        Block inverse(new double[height * height]);
        double *own = inverse.get();                        // Z_JJ, lower triangle
        double *below = own + columns;                      // Z_RJ
        double *corner = own + columns + columns * height;  // Z_RR, both triangles
        // Z_JJ from W = L_JJ⁻¹, both triangular
        Block triangle(new double[columns * columns]);
        std::fill_n(triangle.get(), columns * columns, 0.0);
        for (Index j = 0; j < columns; ++j) triangle[j + j * columns] = 1.0;
        dense::solve(triangle.get(), columns, columns, panel, height, columns, true, threads);
        for (Index j = 0; j < columns; ++j) std::fill_n(own + j * height, height, 0.0);
        for (Index i = 0; i < columns; i += strip) {  // rows i.. of W are zero left of them: skip what is above
            const Index width = std::min(strip, columns - i);
            const double *w = triangle.get() + i;
            dense::multiply({width, i + width, columns - i, w + i * columns, columns, 1, w, 1, columns, own + i, height,
                             1.0, true, i},
                            threads);
        }
        if (rows > 0) {
            gather_corner(s, scratch, corner, height);
            Block y(new double[rows * columns]);
            for (Index j = 0; j < columns; ++j) std::copy_n(panel + columns + j * height, rows, y.get() + j * rows);
            dense::solve(y.get(), rows, rows, panel, height, columns, false, threads);
            dense::multiply({rows, columns, rows, corner, 1, height, y.get(), 1, rows, below, height, -1.0, false, 0},
                            threads);
            dense::multiply({columns, columns, rows, y.get(), rows, 1, below, 1, height, own, height, -1.0, true, 0},
                            threads);
        }
        store_entries(s, scratch, inverse.get());
        if (waiting_[s] > 0) front_[s] = std::move(inverse);
    }

    void gather_corner(std::int32_t s, Scratch &scratch, double *corner, Index height) {
        const std::int32_t parent = symbolic_.parent[s];
        const Index rows = symbolic_.rows(s);
        const std::int32_t *row = symbolic_.row.data() + symbolic_.row_start[s];
        find_places(parent, row, rows, scratch.parent_place);
        const std::int32_t *place = scratch.parent_place.data();
        const Index parent_height = symbolic_.height(parent);
        for (Index j = 0; j < rows; ++j) {
            const double *from = front_[parent].get() + place[j] * parent_height;
            double *to = corner + j * height;
            for (Index i = j; i < rows; ++i) to[i] = from[place[i]];
        }
        for (Index j = 0; j < rows; j += tile) {  // the other triangle, in tiles that stay in the cache
            for (Index i = j; i < rows; i += tile) {
                for (Index a = j; a < std::min(j + tile, rows); ++a) {
                    for (Index b = std::max(i, a); b < std::min(i + tile, rows); ++b) {
                        corner[a + b * height] = corner[b + a * height];
                    }
                }
            }
        }
        if (--waiting_[parent] == 0) front_[parent].reset();
    }

    // Both lists ascend: the parent's columns, then its rows.
    void find_places(std::int32_t parent, const std::int32_t *row, Index count, std::vector<std::int32_t> &place) {
        const std::int32_t first = symbolic_.first[parent], end = symbolic_.first[parent + 1];
        const std::int32_t *parent_row = symbolic_.row.data() + symbolic_.row_start[parent];
        place.resize(count);
        Index i = 0;
        for (; i < count && row[i] < end; ++i) place[i] = row[i] - first;
        for (Index at = 0; i < count; ++i) {
            while (parent_row[at] != row[i]) ++at;
            place[i] = static_cast<std::int32_t>(end - first + at);
        }
    }

    void store_entries(std::int32_t s, Scratch &scratch, const double *inverse) {
        const Index columns = symbolic_.columns(s), rows = symbolic_.rows(s), height = columns + rows;
        const std::int32_t first = symbolic_.first[s];
        const std::int32_t *row = symbolic_.row.data() + symbolic_.row_start[s];
        for (Index j = 0; j < columns; ++j) scratch.place[first + j] = static_cast<std::int32_t>(j);
        for (Index r = 0; r < rows; ++r) scratch.place[row[r]] = static_cast<std::int32_t>(columns + r);
        for (Index j = 0; j < columns; ++j, inverse += height) {
            const auto column = static_cast<std::int32_t>(first + j);
            const std::int32_t node = symbolic_.order[column];
            diagonal_[node] = inverse[j];
            for (std::int64_t e = pattern_.start[node]; e < pattern_.start[node + 1]; ++e) {
                const std::int32_t i = symbolic_.inverse[pattern_.source[e]];
                if (i > column) weight_[e] = weight_[pattern_.reverse[e]] = inverse[scratch.place[i]];
            }
        }
    }

    static constexpr Index strip = 192;
    static constexpr Index tile = 32;

    const Factor &factor_;
    const Symbolic &symbolic_;
    const Pattern &pattern_;
    double *diagonal_;
    double *weight_;
    std::vector<Block> front_;
    std::vector<std::atomic<std::int32_t>> waiting_;  // children that have yet to copy Z_RR
};

}  // namespace

void Factor::selected_inverse(const Pattern &pattern, double *diagonal, double *weight, int threads) const {
    Inversion(*this, pattern, diagonal, weight).run(threads);
}

}  // namespace gabp
