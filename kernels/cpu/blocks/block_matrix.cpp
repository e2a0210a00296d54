#include "blocks/block_matrix.hpp"

#include <algorithm>

namespace gabp {
namespace {

// The distinct neighbours of a node, itself among them, ascending.
void find_neighbours(const ScalarEdges &edges, const NodePartition &partition, std::int32_t node,
                     std::vector<std::int32_t> &found) {
    found.assign(1, node);
    for (int a = 0; a < partition.size; ++a) {
        const std::int64_t u = partition.member[std::int64_t(node) * partition.size + a];
        if (u < 0) continue;
        for (std::int64_t e = edges.start[u]; e < edges.start[u + 1]; ++e) {
            const auto other = static_cast<std::int32_t>(partition.place[edges.source[e]] / partition.size);
            if (other != found.back()) found.push_back(other);
        }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
}

void fill_row(const ScalarEdges &edges, const NodePartition &partition, const double *scale, std::int32_t node,
              BlockMatrix<double> &matrix) {
    const int d = partition.size;
    const std::int64_t first = matrix.start[node], last = matrix.start[node + 1];
    std::fill(matrix.at(first), matrix.at(last), 0.0);
    const std::int32_t *columns = matrix.column.data();
    const auto entry = [&](std::int32_t other, int a, int b) -> double & {
        const std::int64_t e = std::lower_bound(columns + first, columns + last, other) - columns;
        return matrix.at(e)[b * d + a];
    };
    for (int a = 0; a < d; ++a) {
        const std::int64_t u = partition.member[std::int64_t(node) * d + a];
        if (u < 0) {
            entry(node, a, a) = 1.0;
            continue;
        }
        entry(node, a, a) = scale[u] * scale[u] * edges.diagonal[u];
        for (std::int64_t e = edges.start[u]; e < edges.start[u + 1]; ++e) {
            const std::int64_t v = edges.source[e], at = partition.place[v];
            entry(static_cast<std::int32_t>(at / d), a, static_cast<int>(at % d)) = scale[u] * scale[v] * edges.weight[e];
        }
    }
}

}  // namespace

BlockMatrix<double> gather_blocks(const ScalarEdges &edges, const NodePartition &partition, const double *scale,
                                  Team &team) {
    BlockMatrix<double> matrix;
    matrix.rows = matrix.columns = partition.nodes;
    matrix.height = matrix.width = partition.size;
    matrix.start = Array<std::int64_t>(std::int64_t(partition.nodes) + 1);
    const std::int64_t tasks = (partition.nodes + rows_per_task - 1) / rows_per_task;
    std::vector<std::vector<std::int32_t>> column(static_cast<std::size_t>(tasks));
    matrix.start[0] = 0;
    team.each(tasks, [&](std::int64_t task) {
        std::vector<std::int32_t> found;
        const auto last = std::min<std::int64_t>(partition.nodes, (task + 1) * rows_per_task);
        for (std::int64_t i = task * rows_per_task; i < last; ++i) {
            find_neighbours(edges, partition, static_cast<std::int32_t>(i), found);
            matrix.start[i + 1] = static_cast<std::int64_t>(found.size());
            column[task].insert(column[task].end(), found.begin(), found.end());
        }
    });
    for (std::int64_t i = 0; i < partition.nodes; ++i) matrix.start[i + 1] += matrix.start[i];
    matrix.column = Array<std::int32_t>(matrix.blocks());
    matrix.value = Array<double>(matrix.blocks() * matrix.block_size() + 1);
    team.each(tasks, [&](std::int64_t task) {
        const std::int64_t first = task * rows_per_task;
        const auto last = std::min<std::int64_t>(partition.nodes, first + rows_per_task);
        std::copy(column[task].begin(), column[task].end(), matrix.column.data() + matrix.start[first]);
        for (std::int64_t i = first; i < last; ++i)
            fill_row(edges, partition, scale, static_cast<std::int32_t>(i), matrix);
    });
    return matrix;
}

BlockMatrix<float> rounded(const BlockMatrix<double> &matrix, Team &team) {
    BlockMatrix<float> out;
    out.rows = matrix.rows, out.columns = matrix.columns;
    out.height = matrix.height, out.width = matrix.width;
    out.start = Array<std::int64_t>(std::int64_t(matrix.rows) + 1);
    std::copy(matrix.start.data(), matrix.start.data() + matrix.rows + 1, out.start.data());
    out.column = Array<std::int32_t>(matrix.blocks());
    out.value = Array<float>(matrix.blocks() * matrix.block_size() + 1);
    out.value[matrix.blocks() * matrix.block_size()] = 0.0f;  // vectors of four may reach one number too far
    each_range(team, matrix.rows, [&](std::int64_t first, std::int64_t last) {
        const std::int64_t begin = matrix.start[first], end = matrix.start[last];
        std::copy(matrix.column.data() + begin, matrix.column.data() + end, out.column.data() + begin);
        for (std::int64_t e = begin * matrix.block_size(); e < end * matrix.block_size(); ++e)
            out.value[e] = static_cast<float>(matrix.value[e]);
    });
    return out;
}

}  // namespace gabp
