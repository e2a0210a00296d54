#include "hierarchy/elimination_sweep.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {

template <class W>
void set_pivots(const RowsView<W> &rows, const PivotFloor &pivot_floor, LevelMatrix &m, Team &team) {
    m.inverse_pivot = Array<float>(m.n);
    m.excess = Array<float>(m.n);
    std::vector<std::int64_t> loaded(static_cast<std::size_t>(m.blocks()));
    team.each(m.blocks(), [&](std::int64_t k) {
        const std::int32_t begin = m.block[k], end = m.block[k + 1];
        for (std::int32_t i = begin; i < end; ++i) {
            const double diagonal = rows.diagonal[i];
            double pivot = diagonal, cross = 0.0, later = 0.0;
            for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
                const std::int32_t j = rows.column[e];
                const double a = rows.weight[e];
                if (j < begin || j >= end)
                    cross += std::abs(a);
                else if (j < i)
                    pivot -= a * a * static_cast<double>(m.inverse_pivot[j]);
                else
                    later += std::abs(a);
            }
            const double floor =
                std::max(pivot_floor.diagonal * diagonal + pivot_floor.cross * cross, pivot_floor.later * later);
            if (!(pivot >= (1.0 - pivot_rounding) * floor)) {
                pivot = floor;
                ++loaded[k];
            }
            m.inverse_pivot[i] = static_cast<float>(1.0 / pivot);
            m.excess[i] = static_cast<float>(1.0 / static_cast<double>(m.inverse_pivot[i]) - diagonal);
        }
    });
    for (const std::int64_t count : loaded) m.loaded_rows += count;
}

template void set_pivots(const RowsView<float> &, const PivotFloor &, LevelMatrix &, Team &);
template void set_pivots(const RowsView<double> &, const PivotFloor &, LevelMatrix &, Team &);

}  // namespace gabp
