// Clusters of strongly coupled variables, and the coarse model in which each cluster is one variable.
#pragma once

#include "hierarchy/level_matrix.hpp"

namespace gabp {

struct Clusters {
    Array<std::int32_t> of;           // cluster of each row; -1 where the row's own sweep is enough
    std::vector<std::int32_t> first;  // clusters [first[k], first[k + 1]) lie in row block k
    std::int32_t count() const { return first.empty() ? 0 : first.back(); }
};

// Double pairwise matching (Notay 2010) on -A_ij / min(A_ii, A_jj), within the row blocks. Strongly dominant
// rows are left out.
template <class W>
Clusters find_clusters(const RowsView<W> &rows, const std::vector<std::int32_t> &block, Team &team);

// The clusters of a model that has been laid out; none where it has none.
Clusters clusters_of(const ModelMatrix &matrix);

// P'AP for the piecewise constant P of the clusters: a Gaussian model again. `inner` is the share of the
// couplings' absolute sum that lies within clusters.
template <class W>
Rows contract(const RowsView<W> &rows, const std::vector<std::int32_t> &block, const Clusters &clusters, Team &team,
              double &inner);

}  // namespace gabp
