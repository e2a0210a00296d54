#include "hierarchy/aggregation.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr std::int32_t unmatched = -1, excluded = -2;
constexpr double tie = 1e-6;  // relative difference below which the earlier of two couplings counts as the stronger

// The matching within rows [begin, end); all indices are local to the block.
template <class W>
class BlockMatching {
public:
    BlockMatching(const RowsView<W> &rows, std::int32_t begin, std::int32_t end)
        : rows_(rows), begin_(begin), size_(end - begin) {}

    // Fills aggregate[0 .. size) with local numbers, in the order of the first rows, and returns their count. A sweep
    // does not see the constant on a node of large diagonal, so no aggregate may hold two such nodes that are coupled
    // weakly: a coupling counts by its share of the smaller diagonal, and of a pair by the sum of the nodes' diagonals.
    // The first pass over rows, and over pairs, is for those that are strong for both, as inside an inclusion; else a
    // weak neighbour would part it.
    std::int32_t run(std::int32_t *aggregate) {
        exclude_dominant_rows();
        match_rows();
        match_pairs();
        join_pairs(aggregate);
        join_singletons(aggregate);
        return renumber(aggregate);
    }

private:
    // The strongest coupling so far; among nearly equal ones, the earliest.
    struct Strongest {
        std::int32_t which;
        double strength = coupling_threshold;
        void consider(std::int32_t other, double coupling, double a, double b, bool mutual) {
            const double s = -coupling / std::min(a, b);
            if (!(s > strength * (1.0 + tie))) return;
            if (mutual && !(-coupling > mutual_threshold * std::max(a, b))) return;
            strength = s;
            which = other;
        }
    };
    bool inside(std::int32_t j) const { return j >= begin_ && j < begin_ + size_; }

    void exclude_dominant_rows() {
        mate_.assign(static_cast<std::size_t>(size_), unmatched);
        for (std::int32_t i = 0; i < size_; ++i) {
            double sum = 0.0;
            for (std::int64_t e = rows_.start[begin_ + i]; e < rows_.start[begin_ + i + 1]; ++e)
                sum += std::abs(static_cast<double>(rows_.weight[e]));
            if (sum <= dominance_threshold * rows_.diagonal[begin_ + i]) mate_[i] = excluded;
        }
    }

    void match_rows() {
        for (const bool mutual : {true, false})
            for (std::int32_t i = 0; i < size_; ++i)
                if (mate_[i] == unmatched) match_row(i, mutual);
        pair_.assign(static_cast<std::size_t>(size_), excluded);
        for (std::int32_t i = 0; i < size_; ++i) {
            if (mate_[i] == excluded || pair_[i] != excluded) continue;
            const double own = rows_.diagonal[begin_ + i];
            pair_[i] = static_cast<std::int32_t>(first_.size());
            first_.push_back(i);
            if (mate_[i] == unmatched) mate_[i] = i;
            diagonal_.push_back(mate_[i] == i ? own : own + rows_.diagonal[begin_ + mate_[i]]);
            pair_[mate_[i]] = pair_[i];
        }
    }

    void match_row(std::int32_t i, bool mutual) {
        const std::int32_t row = begin_ + i;
        Strongest best{i};
        for (std::int64_t e = rows_.start[row]; e < rows_.start[row + 1]; ++e) {
            const std::int32_t j = rows_.column[e];
            if (inside(j) && mate_[j - begin_] == unmatched)
                best.consider(j - begin_, rows_.weight[e], rows_.diagonal[row], rows_.diagonal[j], mutual);
        }
        if (best.which == i) return;
        mate_[i] = best.which;
        mate_[best.which] = i;
    }

    // The couplings of pair p to the unmatched pairs of the block, summed.
    void sum_couplings(std::int32_t p) {
        couplings_.clear();
        const std::int32_t rows[2] = {first_[p], mate_[first_[p]]};
        for (int r = 0; r < (rows[0] == rows[1] ? 1 : 2); ++r)
            for (std::int64_t e = rows_.start[begin_ + rows[r]]; e < rows_.start[begin_ + rows[r] + 1]; ++e) {
                const std::int32_t j = rows_.column[e];
                if (!inside(j)) continue;
                const std::int32_t q = pair_[j - begin_];
                if (q < 0 || q == p || partner_[q] != unmatched) continue;
                if (position_[q] < 0) {
                    position_[q] = static_cast<std::int32_t>(couplings_.size());
                    couplings_.push_back({q, 0.0});
                }
                couplings_[position_[q]].weight += rows_.weight[e];
            }
        for (const PairCoupling &n : couplings_) position_[n.pair] = -1;
    }

    void match_pairs() {
        const auto pairs = static_cast<std::int32_t>(first_.size());
        partner_.assign(first_.size(), unmatched);
        position_.assign(first_.size(), -1);
        for (const bool mutual : {true, false})
            for (std::int32_t p = 0; p < pairs; ++p)
                if (partner_[p] == unmatched) match_pair(p, mutual);
        for (std::int32_t p = 0; p < pairs; ++p)
            if (partner_[p] == unmatched) partner_[p] = p;
    }

    void match_pair(std::int32_t p, bool mutual) {
        sum_couplings(p);
        Strongest best{p};
        for (const PairCoupling &n : couplings_)
            best.consider(n.pair, n.weight, diagonal_[p], diagonal_[n.pair], mutual);
        if (best.which == p) return;
        partner_[p] = best.which;
        partner_[best.which] = p;
        diagonal_[p] = diagonal_[best.which] = diagonal_[p] + diagonal_[best.which];
    }

    // Numbers an aggregate by its earlier pair.
    void join_pairs(std::int32_t *aggregate) {
        for (std::int32_t i = 0; i < size_; ++i)
            aggregate[i] = pair_[i] < 0 ? excluded : std::min(pair_[i], partner_[pair_[i]]);
        members_.assign(first_.size(), 0);
        for (std::int32_t i = 0; i < size_; ++i)
            if (aggregate[i] >= 0) ++members_[aggregate[i]];
    }

    // A singleton joins its strongest neighbour's aggregate: leaves always, others while there is room.
    void join_singletons(std::int32_t *aggregate) {
        for (std::int32_t i = 0; i < size_; ++i) {
            if (aggregate[i] < 0 || members_[aggregate[i]] != 1) continue;
            const std::int32_t row = begin_ + i;
            const bool leaf = rows_.start[row + 1] - rows_.start[row] == 1;
            Strongest best{excluded};
            for (std::int64_t e = rows_.start[row]; e < rows_.start[row + 1]; ++e) {
                const std::int32_t j = rows_.column[e];
                const std::int32_t into = inside(j) ? aggregate[j - begin_] : excluded;
                if (into < 0 || (!leaf && members_[into] >= largest_aggregate)) continue;
                best.consider(into, rows_.weight[e], rows_.diagonal[row], diagonal_[into], false);
            }
            if (best.which < 0) continue;
            members_[aggregate[i]] = 0;
            aggregate[i] = best.which;
            ++members_[best.which];
            diagonal_[best.which] += rows_.diagonal[row];
        }
    }

    std::int32_t renumber(std::int32_t *aggregate) {
        std::int32_t count = 0;
        std::vector<std::int32_t> &number = position_;
        number.assign(first_.size(), -1);
        for (std::int32_t i = 0; i < size_; ++i) {
            if (aggregate[i] < 0) continue;
            std::int32_t &n = number[aggregate[i]];
            if (n < 0) n = count++;
            aggregate[i] = n;
        }
        return count;
    }

    struct PairCoupling {
        std::int32_t pair;
        double weight;
    };
    const RowsView<W> &rows_;
    std::int32_t begin_, size_;
    std::vector<std::int32_t> mate_, pair_, first_, partner_, position_, members_;
    std::vector<double> diagonal_;  // of each pair's nodes, and later of its aggregate's, summed
    std::vector<PairCoupling> couplings_;
};

// The coarse rows of one block, to be joined with those of the others.
struct CoarseBlock {
    std::vector<std::int64_t> degree;
    std::vector<std::int32_t> column;
    std::vector<float> weight;
    double inner = 0.0, total = 0.0;  // couplings in magnitude: within aggregates, and all
};

struct CoarseCoupling {
    std::int32_t aggregate;
    double weight;
};

constexpr std::size_t linear_search_limit = 48;  // couplings of a row above which sorting is faster

void add_coupling(std::vector<CoarseCoupling> &couplings, std::int32_t aggregate, double weight) {
    if (couplings.size() <= linear_search_limit)
        for (CoarseCoupling &coupling : couplings)
            if (coupling.aggregate == aggregate) {
                coupling.weight += weight;
                return;
            }
    couplings.push_back({aggregate, weight});
}

void merge_couplings(std::vector<CoarseCoupling> &couplings) {
    if (couplings.size() <= linear_search_limit) {
        for (std::size_t a = 1; a < couplings.size(); ++a) {
            const CoarseCoupling coupling = couplings[a];
            std::size_t b = a;
            for (; b > 0 && couplings[b - 1].aggregate > coupling.aggregate; --b) couplings[b] = couplings[b - 1];
            couplings[b] = coupling;
        }
        return;
    }
    std::stable_sort(couplings.begin(), couplings.end(),
                     [](const CoarseCoupling &a, const CoarseCoupling &b) { return a.aggregate < b.aggregate; });
    std::size_t kept = 0;
    for (const CoarseCoupling &coupling : couplings) {
        if (kept > 0 && couplings[kept - 1].aggregate == coupling.aggregate)
            couplings[kept - 1].weight += coupling.weight;
        else
            couplings[kept++] = coupling;
    }
    couplings.resize(kept);
}

// The rows of each aggregate in [first, last): row[start[c - first] .. start[c - first + 1]).
struct Members {
    Members(const Aggregates &aggregates, std::int32_t begin, std::int32_t end, std::int32_t first, std::int32_t last)
        : row(static_cast<std::size_t>(end - begin)), start(static_cast<std::size_t>(last - first) + 1) {
        for (std::int32_t i = begin; i < end; ++i)
            if (aggregates.of[i] >= 0) ++start[aggregates.of[i] - first + 1];
        for (std::size_t c = 1; c < start.size(); ++c) start[c] += start[c - 1];
        std::vector<std::int32_t> next(start.begin(), start.end() - 1);
        for (std::int32_t i = begin; i < end; ++i)
            if (aggregates.of[i] >= 0) row[next[aggregates.of[i] - first]++] = i;
    }
    std::vector<std::int32_t> row, start;
};

// The aggregates of row block k; writes their row sums and diagonals into `coarse`.
template <class W>
CoarseBlock galerkin_block(const RowsView<W> &rows, const std::vector<std::int32_t> &block_rows, std::size_t k,
                           const Aggregates &aggregates, Rows &coarse) {
    const std::int32_t first = aggregates.first[k], last = aggregates.first[k + 1];
    const Members members(aggregates, block_rows[k], block_rows[k + 1], first, last);
    CoarseBlock block;
    std::vector<CoarseCoupling> couplings;
    block.degree.reserve(static_cast<std::size_t>(last - first));
    for (std::int32_t c = first; c < last; ++c) {
        couplings.clear();
        double row_sum = 0.0, scale = 0.0;
        for (std::int32_t m = members.start[c - first]; m < members.start[c - first + 1]; ++m) {
            const std::int32_t i = members.row[m];
            row_sum += rows.row_sum[i];
            scale += rows.diagonal[i];
            for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
                const double w = rows.weight[e];
                const std::int32_t other = aggregates.of[rows.column[e]];
                block.total += std::abs(w);
                if (other == c)
                    block.inner += std::abs(w);
                else if (other < 0)
                    row_sum -= w;
                else
                    add_coupling(couplings, other, w);
            }
        }
        merge_couplings(couplings);
        double diagonal = row_sum;
        for (const CoarseCoupling &coupling : couplings) {
            const auto w = static_cast<float>(coupling.weight);
            block.column.push_back(coupling.aggregate);
            block.weight.push_back(w);
            diagonal -= w;
        }
        // A singular component that has become one aggregate: any positive value grounds it.
        if (!(diagonal > singular_diagonal * scale)) diagonal = scale;
        block.degree.push_back(static_cast<std::int64_t>(couplings.size()));
        coarse.row_sum[c] = row_sum;
        coarse.diagonal[c] = diagonal;
    }
    return block;
}

}  // namespace

template <class W>
Aggregates find_aggregates(const RowsView<W> &rows, const std::vector<std::int32_t> &block, Team &team) {
    const std::size_t blocks = block.size() - 1;
    Aggregates aggregates{Array<std::int32_t>(rows.n), std::vector<std::int32_t>(blocks + 1)};
    team.each(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
        BlockMatching<W> matching(rows, block[k], block[k + 1]);
        aggregates.first[k + 1] = matching.run(aggregates.of.data() + block[k]);
    });
    for (std::size_t k = 0; k < blocks; ++k) aggregates.first[k + 1] += aggregates.first[k];
    team.each(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i)
            aggregates.of[i] = aggregates.of[i] < 0 ? -1 : aggregates.of[i] + aggregates.first[k];
    });
    return aggregates;
}

Aggregates aggregates_of(const LevelMatrix &m) {
    Aggregates aggregates;
    if (m.aggregate.size() == 0) return aggregates;
    aggregates.of = Array<std::int32_t>(m.n);
    std::copy(m.aggregate.data(), m.aggregate.data() + m.n, aggregates.of.data());
    aggregates.first.assign(m.block.size(), 0);
    for (int k = 0; k < m.blocks(); ++k) {  // numbered block after block
        const std::int32_t *of = m.aggregate.data();
        const std::int32_t last = *std::max_element(of + m.block[k], of + m.block[k + 1]);
        aggregates.first[k + 1] = std::max(aggregates.first[k], 1 + last);
    }
    return aggregates;
}

template <class W>
GalerkinProduct galerkin_product(const RowsView<W> &rows, const std::vector<std::int32_t> &block,
                                 const Aggregates &aggregates, Team &team) {
    const std::size_t blocks = block.size() - 1;
    GalerkinProduct product;
    Rows &coarse = product.rows;
    coarse.n = aggregates.count();
    coarse.diagonal = Array<double>(coarse.n);
    coarse.row_sum = Array<double>(coarse.n);
    coarse.start = Array<std::int64_t>(coarse.n + 1);
    std::vector<CoarseBlock> part(blocks);
    team.each(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
        part[k] = galerkin_block(rows, block, static_cast<std::size_t>(k), aggregates, coarse);
    });
    std::vector<std::int64_t> begin(blocks + 1);
    double inner = 0.0, total = 0.0;
    for (std::size_t k = 0; k < blocks; ++k) {
        begin[k + 1] = begin[k] + static_cast<std::int64_t>(part[k].column.size());
        inner += part[k].inner;
        total += part[k].total;
    }
    product.inner_share = total > 0.0 ? inner / total : 1.0;
    coarse.column = Array<std::int32_t>(begin[blocks]);
    coarse.weight = Array<float>(begin[blocks]);
    coarse.start[0] = 0;
    team.each(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
        std::int64_t at = begin[k];
        for (std::int32_t c = aggregates.first[k]; c < aggregates.first[k + 1]; ++c)
            coarse.start[c + 1] = at += part[k].degree[c - aggregates.first[k]];
        std::copy(part[k].column.begin(), part[k].column.end(), coarse.column.data() + begin[k]);
        std::copy(part[k].weight.begin(), part[k].weight.end(), coarse.weight.data() + begin[k]);
        part[k] = CoarseBlock();
    });
    return product;
}

template Aggregates find_aggregates(const RowsView<float> &, const std::vector<std::int32_t> &, Team &);
template Aggregates find_aggregates(const RowsView<double> &, const std::vector<std::int32_t> &, Team &);
template GalerkinProduct galerkin_product(const RowsView<float> &, const std::vector<std::int32_t> &,
                                          const Aggregates &, Team &);
template GalerkinProduct galerkin_product(const RowsView<double> &, const std::vector<std::int32_t> &,
                                          const Aggregates &, Team &);

}  // namespace gabp
