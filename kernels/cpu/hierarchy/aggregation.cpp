#include "hierarchy/aggregation.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr double weakest_link = 0.05;  // couplings below this share of the smaller diagonal bind nothing
constexpr double dominant = 0.6;       // a row whose couplings sum to less than this share is left out
constexpr int largest_cluster = 6;
constexpr double singular = 1e-14;

constexpr std::int32_t unmatched = -1, left_out = -2;

// The matching within rows [begin, end); all indices are local to the block.
template <class W>
class BlockMatching {
public:
    BlockMatching(const RowsView<W> &rows, std::int32_t begin, std::int32_t end)
        : rows_(rows), begin_(begin), size_(end - begin) {}

    // Fills cluster[0 .. size) with local numbers, in the order of the first rows, and returns their count.
    std::int32_t run(std::int32_t *cluster) {
        pair_rows();
        pair_pairs(cluster);
        adopt_singles(cluster);
        return number(cluster);
    }

private:
    double strength(double coupling, double a, double b) const { return -coupling / std::min(a, b); }
    bool inside(std::int32_t j) const { return j >= begin_ && j < begin_ + size_; }

    void pair_rows() {
        mate_.assign(static_cast<std::size_t>(size_), unmatched);
        for (std::int32_t i = 0; i < size_; ++i) {
            double sum = 0.0;
            for (std::int64_t e = rows_.start[begin_ + i]; e < rows_.start[begin_ + i + 1]; ++e)
                sum += std::abs(static_cast<double>(rows_.weight[e]));
            if (sum <= dominant * rows_.diagonal[begin_ + i]) mate_[i] = left_out;
        }
        for (std::int32_t i = 0; i < size_; ++i) {
            if (mate_[i] != unmatched) continue;
            const std::int32_t row = begin_ + i;
            std::int32_t best = i;
            double strongest = weakest_link, coupling = 0.0;
            for (std::int64_t e = rows_.start[row]; e < rows_.start[row + 1]; ++e) {
                const std::int32_t j = rows_.column[e];
                if (!inside(j) || mate_[j - begin_] != unmatched) continue;
                const double s = strength(rows_.weight[e], rows_.diagonal[row], rows_.diagonal[j]);
                if (s > strongest * (1.0 + 1e-6)) {
                    strongest = s;
                    best = j - begin_;
                    coupling = rows_.weight[e];
                }
            }
            mate_[i] = best;
            mate_[best] = i;
            first_.push_back(i);
            diagonal_.push_back(best == i ? rows_.diagonal[row]
                                          : rows_.diagonal[row] + rows_.diagonal[begin_ + best] + 2.0 * coupling);
        }
        pair_.assign(static_cast<std::size_t>(size_), left_out);
        for (std::size_t p = 0; p < first_.size(); ++p)
            pair_[first_[p]] = pair_[mate_[first_[p]]] = static_cast<std::int32_t>(p);
    }

    // The couplings of pair p to other pairs of the block, summed.
    void gather(std::int32_t p) {
        near_.clear();
        const std::int32_t rows[2] = {first_[p], mate_[first_[p]]};
        for (int r = 0; r < (rows[0] == rows[1] ? 1 : 2); ++r)
            for (std::int64_t e = rows_.start[begin_ + rows[r]]; e < rows_.start[begin_ + rows[r] + 1]; ++e) {
                const std::int32_t j = rows_.column[e];
                if (!inside(j)) continue;
                const std::int32_t q = pair_[j - begin_];
                if (q < 0 || q == p || partner_[q] != unmatched) continue;
                if (slot_[q] < 0) {
                    slot_[q] = static_cast<std::int32_t>(near_.size());
                    near_.push_back({q, 0.0});
                }
                near_[slot_[q]].coupling += rows_.weight[e];
            }
        for (const Near &n : near_) slot_[n.pair] = -1;
    }

    void pair_pairs(std::int32_t *cluster) {
        const auto pairs = static_cast<std::int32_t>(first_.size());
        partner_.assign(first_.size(), unmatched);
        slot_.assign(first_.size(), -1);
        for (std::int32_t p = 0; p < pairs; ++p) {
            if (partner_[p] != unmatched) continue;
            gather(p);
            std::int32_t best = p;
            double strongest = weakest_link;
            for (const Near &n : near_) {
                const double s = strength(n.coupling, diagonal_[p], diagonal_[n.pair]);
                if (s > strongest * (1.0 + 1e-6)) {
                    strongest = s;
                    best = n.pair;
                }
            }
            partner_[p] = best;
            partner_[best] = p;
        }
        for (std::int32_t i = 0; i < size_; ++i)  // a cluster is named by its earlier pair for now
            cluster[i] = pair_[i] < 0 ? left_out : std::min(pair_[i], partner_[pair_[i]]);
        members_.assign(first_.size(), 0);
        for (std::int32_t i = 0; i < size_; ++i)
            if (cluster[i] >= 0) ++members_[cluster[i]];
    }

    // A row that stayed alone joins its strongest neighbour's cluster: leaves always, others while there is room.
    void adopt_singles(std::int32_t *cluster) {
        for (std::int32_t i = 0; i < size_; ++i) {
            if (cluster[i] < 0 || members_[cluster[i]] != 1) continue;
            const std::int32_t row = begin_ + i;
            const bool leaf = rows_.start[row + 1] - rows_.start[row] == 1;
            std::int32_t best = -1;
            double strongest = weakest_link;
            for (std::int64_t e = rows_.start[row]; e < rows_.start[row + 1]; ++e) {
                const std::int32_t j = rows_.column[e];
                if (!inside(j) || cluster[j - begin_] < 0) continue;
                if (!leaf && members_[cluster[j - begin_]] >= largest_cluster) continue;
                const double s = strength(rows_.weight[e], rows_.diagonal[row], rows_.diagonal[j]);
                if (s > strongest) {
                    strongest = s;
                    best = cluster[j - begin_];
                }
            }
            if (best < 0) continue;
            members_[cluster[i]] = 0;
            cluster[i] = best;
            ++members_[best];
        }
    }

    std::int32_t number(std::int32_t *cluster) {
        std::int32_t count = 0;
        std::vector<std::int32_t> &name = slot_;
        name.assign(first_.size(), -1);
        for (std::int32_t i = 0; i < size_; ++i) {
            if (cluster[i] < 0) continue;
            std::int32_t &n = name[cluster[i]];
            if (n < 0) n = count++;
            cluster[i] = n;
        }
        return count;
    }

    struct Near {
        std::int32_t pair;
        double coupling;
    };
    const RowsView<W> &rows_;
    std::int32_t begin_, size_;
    std::vector<std::int32_t> mate_, pair_, first_, partner_, slot_, members_;
    std::vector<double> diagonal_;  // of the pairs' model
    std::vector<Near> near_;
};

// The coarse rows of one block, to be joined with those of the others.
struct CoarseBlock {
    std::vector<std::int64_t> degree;
    std::vector<std::int32_t> column;
    std::vector<float> weight;
    double inner = 0.0, total = 0.0;
};

struct Link {
    std::int32_t cluster;
    double weight;
};

constexpr std::size_t searched_links = 48;  // above this many, sorting beats looking for a link

void add_link(std::vector<Link> &links, std::int32_t cluster, double weight) {
    if (links.size() <= searched_links)
        for (Link &link : links)
            if (link.cluster == cluster) {
                link.weight += weight;
                return;
            }
    links.push_back({cluster, weight});
}

void merge_links(std::vector<Link> &links) {
    if (links.size() <= searched_links) {
        for (std::size_t a = 1; a < links.size(); ++a) {
            const Link link = links[a];
            std::size_t b = a;
            for (; b > 0 && links[b - 1].cluster > link.cluster; --b) links[b] = links[b - 1];
            links[b] = link;
        }
        return;
    }
    std::stable_sort(links.begin(), links.end(), [](const Link &a, const Link &b) { return a.cluster < b.cluster; });
    std::size_t kept = 0;
    for (const Link &link : links) {
        if (kept > 0 && links[kept - 1].cluster == link.cluster)
            links[kept - 1].weight += link.weight;
        else
            links[kept++] = link;
    }
    links.resize(kept);
}

template <class W>
CoarseBlock contract_block(const RowsView<W> &rows, std::int32_t begin, std::int32_t end, const Clusters &clusters,
                           std::int32_t first, std::int32_t last, Rows &coarse) {
    CoarseBlock block;
    std::vector<std::int32_t> member(static_cast<std::size_t>(end - begin));
    std::vector<std::int32_t> position(static_cast<std::size_t>(last - first) + 1);
    for (std::int32_t i = begin; i < end; ++i)
        if (clusters.of[i] >= 0) ++position[clusters.of[i] - first + 1];
    for (std::size_t c = 1; c < position.size(); ++c) position[c] += position[c - 1];
    {
        std::vector<std::int32_t> next(position.begin(), position.end() - 1);
        for (std::int32_t i = begin; i < end; ++i)
            if (clusters.of[i] >= 0) member[next[clusters.of[i] - first]++] = i;
    }
    std::vector<Link> links;
    block.degree.reserve(static_cast<std::size_t>(last - first));
    for (std::int32_t c = first; c < last; ++c) {
        links.clear();
        double slack = 0.0, scale = 0.0;
        for (std::int32_t m = position[c - first]; m < position[c - first + 1]; ++m) {
            const std::int32_t i = member[m];
            slack += rows.slack[i];
            scale += rows.diagonal[i];
            for (std::int64_t e = rows.start[i]; e < rows.start[i + 1]; ++e) {
                const double w = rows.weight[e];
                const std::int32_t other = clusters.of[rows.column[e]];
                block.total += std::abs(w);
                if (other == c)
                    block.inner += std::abs(w);
                else if (other < 0)
                    slack -= w;
                else
                    add_link(links, other, w);
            }
        }
        merge_links(links);
        double diagonal = slack;
        for (const Link &link : links) {
            const auto w = static_cast<float>(link.weight);
            block.column.push_back(link.cluster);
            block.weight.push_back(w);
            diagonal -= w;
        }
        // A floating component that has become one cluster: any positive value grounds it.
        if (!(diagonal > singular * scale)) diagonal = scale;
        block.degree.push_back(static_cast<std::int64_t>(links.size()));
        coarse.slack[c] = slack;
        coarse.diagonal[c] = diagonal;
    }
    return block;
}

}  // namespace

template <class W>
Clusters find_clusters(const RowsView<W> &rows, const std::vector<std::int32_t> &block, Team &team) {
    const std::size_t blocks = block.size() - 1;
    Clusters clusters{Array<std::int32_t>(rows.n), std::vector<std::int32_t>(blocks + 1)};
    team.each(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
        BlockMatching<W> matching(rows, block[k], block[k + 1]);
        clusters.first[k + 1] = matching.run(clusters.of.data() + block[k]);
    });
    for (std::size_t k = 0; k < blocks; ++k) clusters.first[k + 1] += clusters.first[k];
    team.each(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
        for (std::int32_t i = block[k]; i < block[k + 1]; ++i)
            clusters.of[i] = clusters.of[i] < 0 ? -1 : clusters.of[i] + clusters.first[k];
    });
    return clusters;
}

Clusters clusters_of(const ModelMatrix &m) {
    Clusters clusters;
    if (m.cluster.size() == 0) return clusters;
    clusters.of = Array<std::int32_t>(m.n);
    std::copy(m.cluster.data(), m.cluster.data() + m.n, clusters.of.data());
    clusters.first.assign(m.block.size(), 0);
    for (int k = 0; k < m.blocks(); ++k)  // numbered block after block
        clusters.first[k + 1] =
            std::max(clusters.first[k], 1 + *std::max_element(m.cluster.data() + m.block[k], m.cluster.data() + m.block[k + 1]));
    return clusters;
}

template <class W>
Rows contract(const RowsView<W> &rows, const std::vector<std::int32_t> &block, const Clusters &clusters, Team &team,
              double &inner) {
    const std::size_t blocks = block.size() - 1;
    Rows coarse;
    coarse.n = clusters.count();
    coarse.diagonal = Array<double>(coarse.n);
    coarse.slack = Array<double>(coarse.n);
    coarse.start = Array<std::int64_t>(coarse.n + 1);
    std::vector<CoarseBlock> part(blocks);
    team.each(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
        part[k] = contract_block(rows, block[k], block[k + 1], clusters, clusters.first[k], clusters.first[k + 1], coarse);
    });
    std::vector<std::int64_t> begin(blocks + 1);
    double total = 0.0;
    inner = 0.0;
    for (std::size_t k = 0; k < blocks; ++k) {
        begin[k + 1] = begin[k] + static_cast<std::int64_t>(part[k].column.size());
        inner += part[k].inner;
        total += part[k].total;
    }
    inner = total > 0.0 ? inner / total : 1.0;
    coarse.column = Array<std::int32_t>(begin[blocks]);
    coarse.weight = Array<float>(begin[blocks]);
    coarse.start[0] = 0;
    team.each(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
        std::int64_t at = begin[k];
        for (std::int32_t c = clusters.first[k]; c < clusters.first[k + 1]; ++c)
            coarse.start[c + 1] = at += part[k].degree[c - clusters.first[k]];
        std::copy(part[k].column.begin(), part[k].column.end(), coarse.column.data() + begin[k]);
        std::copy(part[k].weight.begin(), part[k].weight.end(), coarse.weight.data() + begin[k]);
        part[k] = CoarseBlock();
    });
    return coarse;
}

template Clusters find_clusters(const RowsView<float> &, const std::vector<std::int32_t> &, Team &);
template Clusters find_clusters(const RowsView<double> &, const std::vector<std::int32_t> &, Team &);
template Rows contract(const RowsView<float> &, const std::vector<std::int32_t> &, const Clusters &, Team &, double &);
template Rows contract(const RowsView<double> &, const std::vector<std::int32_t> &, const Clusters &, Team &, double &);

}  // namespace gabp
