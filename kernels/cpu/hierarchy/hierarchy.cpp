#include "hierarchy/hierarchy.hpp"

#include "hierarchy/aggregation.hpp"
#include "hierarchy/elimination_sweep.hpp"

#include <utility>

namespace gabp {
namespace {

// Most numbers in the factor of a level that is eliminated exactly; coarse levels are visited often.
constexpr std::int64_t largest_factor_finest = 300000, largest_factor_coarse = 40000;
constexpr std::int32_t largest_factored_n = 10000;
constexpr std::int64_t couplings_per_block = 1 << 17;
// Dominance slack (see Preparation) from which sweeps of one level are cheaper than a hierarchy. Iterations go as its
// root: 30 at 0.025. One costs a sixth of a cycle while the level stays in the cache, half of one where it does not.
constexpr double one_level_slack = 0.06, one_level_slack_in_cache = 0.015;
constexpr std::int64_t in_cache = 1 << 20;  // rows and couplings

}  // namespace

template <class W>
Hierarchy::Hierarchy(Preparation<W> &&prepared, const Hierarchy *reuse, Team &team) {
    const RowsView<W> rows = prepared.rows();
    norm_bound_ = prepared.norm_bound();
    n_ = rows.n;
    couplings_ = rows.start[rows.n];
    if (prepared.lacks_locality()) {
        keep_csr(rows, prepared.take_diagonal(), team);
        return;
    }
    const double enough = n_ + couplings_ <= in_cache ? one_level_slack_in_cache : one_level_slack;
    build(rows, prepared.bounded_growth() && prepared.dominance_slack() < enough, reuse, team);
    order_ = prepared.take_order();
    scale_ = prepared.take_scale();
    if (scaled()) set_norm_weights(team);
}

void Hierarchy::set_norm_weights(Team &team) {
    LevelMatrix &m = level_.front().matrix;
    m.norm_weight = Array<double>(m.n);
    team.each(m.blocks(), [&](std::int64_t k) {
        for (std::int64_t i = m.block[k]; i < m.block[k + 1]; ++i)
            m.norm_weight[i] = 1.0 / (scale_[i] * scale_[i]);
    });
}

template <class W>
void Hierarchy::keep_csr(const RowsView<W> &rows, Array<double> &&diagonal, Team &team) {
    csr_diagonal_ = std::move(diagonal);
    csr_inverse_ = Array<float>(rows.n);
    csr_block_.push_back(0);
    for (std::int32_t i = 1; i < rows.n; ++i)
        if (rows.start[i] - rows.start[csr_block_.back()] >= couplings_per_block) csr_block_.push_back(i);
    csr_block_.push_back(rows.n);
    team.each(static_cast<std::int64_t>(csr_block_.size()) - 1, [&](std::int64_t k) {
        for (std::int32_t i = csr_block_[k]; i < csr_block_[k + 1]; ++i)
            csr_inverse_[i] = static_cast<float>(1.0 / csr_diagonal_[i]);
    });
    csr_ = {rows.start, rows.column, nullptr, nullptr, csr_diagonal_.data(), csr_inverse_.data()};
    if constexpr (sizeof(W) == sizeof(float))
        csr_.weight_float = rows.weight;
    else
        csr_.weight_double = rows.weight;
}

template <class W>
void Hierarchy::build(const RowsView<W> &rows, bool coarsen, const Hierarchy *reuse, Team &team) {
    const std::size_t depth = level_.size();
    const bool finest = depth == 0;
    Level level;
    level.matrix = build_level_matrix(rows, finest, team);
    const std::int64_t most = finest ? largest_factor_finest : largest_factor_coarse;
    if (rows.n <= largest_factored_n && level.factor.compute(rows, most)) {
        level_.push_back(std::move(level));
        return;
    }
    Aggregates aggregates;
    GalerkinProduct coarse;
    if (reuse != nullptr)
        aggregates = aggregates_of(reuse->level_.at(depth).matrix);
    else if (coarsen)
        aggregates = find_aggregates(rows, level.matrix.block, team);
    bool last = aggregates.count() == 0 || aggregates.count() > largest_coarsening_ratio * rows.n;
    if (!last) {
        coarse = galerkin_product(rows, level.matrix.block, aggregates, team);
        last = reuse == nullptr && coarse.inner_share < smallest_inner_share &&
               coarse.rows.start[coarse.rows.n] > largest_coupling_ratio * static_cast<double>(rows.start[rows.n]);
    }
    set_pivots(rows, last ? full_sweep_floor : half_sweep_floor, level.matrix, team);
    if (!last) level.matrix.aggregate = std::move(aggregates.of);
    level_.push_back(std::move(level));
    if (!last) build(coarse.rows.view(), true, reuse, team);
}

std::int64_t Hierarchy::bytes() const {
    std::int64_t sum = order_.bytes() + scale_.bytes() + csr_diagonal_.bytes() + csr_inverse_.bytes();
    for (const Level &level : level_) sum += level.matrix.bytes() + level.factor.size() * 8;
    return sum;
}

template Hierarchy::Hierarchy(Preparation<float> &&, const Hierarchy *, Team &);
template Hierarchy::Hierarchy(Preparation<double> &&, const Hierarchy *, Team &);

}  // namespace gabp
