#include "blocks/block_aggregation.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {
namespace {

constexpr double strong = 0.3;         // share of the strongest coupling of either node
constexpr double dependent = 1e-10;  // share of a vector's norm that orthogonalisation leaves of a dependent one

struct StrongGraph {
    std::vector<std::int64_t> start;
    std::vector<std::int32_t> neighbour;
    std::vector<float> strength;
};

double squared_norm(const double *block, std::int64_t size) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < size; ++i) sum += block[i] * block[i];
    return sum;
}

StrongGraph strong_couplings(const BlockMatrix<double> &matrix, Team &team) {
    const std::int64_t size = matrix.block_size();
    Array<double> norm(matrix.blocks()), own(matrix.rows), strongest(matrix.rows);
    each_range(team, matrix.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i)
            for (std::int64_t e = matrix.start[i]; e < matrix.start[i + 1]; ++e) {
                norm[e] = std::sqrt(squared_norm(matrix.at(e), size));
                if (matrix.column[e] == i) own[i] = norm[e];
            }
    });
    each_range(team, matrix.rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
            strongest[i] = 0.0;
            for (std::int64_t e = matrix.start[i]; e < matrix.start[i + 1]; ++e) {
                const std::int32_t k = matrix.column[e];
                if (k == i) continue;
                norm[e] /= std::sqrt(own[i] * own[k]);
                strongest[i] = std::max(strongest[i], norm[e]);
            }
        }
    });
    StrongGraph graph;
    graph.start.assign(1, 0);
    for (std::int32_t i = 0; i < matrix.rows; ++i) {
        for (std::int64_t e = matrix.start[i]; e < matrix.start[i + 1]; ++e) {
            const std::int32_t k = matrix.column[e];
            if (k == i || !(norm[e] > strong * std::max(strongest[i], strongest[k]))) continue;
            graph.neighbour.push_back(k);
            graph.strength.push_back(static_cast<float>(norm[e]));
        }
        graph.start.push_back(static_cast<std::int64_t>(graph.neighbour.size()));
    }
    return graph;
}

}  // namespace

NodeAggregates aggregate_nodes(const BlockMatrix<double> &matrix, Team &team) {
    const StrongGraph graph = strong_couplings(matrix, team);
    const std::int32_t n = matrix.rows;
    NodeAggregates result;
    result.of.assign(static_cast<std::size_t>(n), -1);
    std::vector<std::int32_t> &of = result.of;
    const auto neighbours = [&](std::int32_t i, const auto &visit) {
        for (std::int64_t e = graph.start[i]; e < graph.start[i + 1]; ++e) visit(graph.neighbour[e], graph.strength[e]);
    };
    // whole neighbourhoods, as long as none of their nodes is taken
    for (std::int32_t i = 0; i < n; ++i) {
        if (of[i] >= 0 || graph.start[i] == graph.start[i + 1]) continue;
        bool free = true;
        neighbours(i, [&](std::int32_t k, float) { free = free && of[k] < 0; });
        if (!free) continue;
        of[i] = result.count;
        neighbours(i, [&](std::int32_t k, float) { of[k] = result.count; });
        ++result.count;
    }
    // the others join the neighbouring aggregate that they are coupled to most strongly
    const std::vector<std::int32_t> first = of;
    for (std::int32_t i = 0; i < n; ++i) {
        if (first[i] >= 0) continue;
        float strongest = 0.0f;
        neighbours(i, [&](std::int32_t k, float strength) {
            if (first[k] >= 0 && strength > strongest) {
                strongest = strength;
                of[i] = first[k];
            }
        });
    }
    // what has no aggregate beside it makes its own
    for (std::int32_t i = 0; i < n; ++i) {
        if (of[i] >= 0) continue;
        of[i] = result.count;
        neighbours(i, [&](std::int32_t k, float) {
            if (of[k] < 0) of[k] = result.count;
        });
        ++result.count;
    }
    return result;
}

Interpolation tentative_prolongation(const NodeAggregates &aggregates, const NearNullSpace &vectors, int height,
                                     Team &team) {
    const auto n = static_cast<std::int32_t>(aggregates.of.size());
    const int k = vectors.count;
    std::vector<std::int64_t> start(static_cast<std::size_t>(aggregates.count) + 1, 0);
    for (std::int32_t i = 0; i < n; ++i) ++start[aggregates.of[i] + 1];
    for (std::int32_t a = 0; a < aggregates.count; ++a) start[a + 1] += start[a];
    std::vector<std::int32_t> node(static_cast<std::size_t>(n));
    std::vector<std::int64_t> next(start.begin(), start.end() - 1);
    for (std::int32_t i = 0; i < n; ++i) node[next[aggregates.of[i]]++] = i;

    Interpolation result;
    BlockMatrix<double> &p = result.tentative;
    p.rows = n, p.columns = aggregates.count;
    p.height = height, p.width = k;
    p.start = Array<std::int64_t>(std::int64_t(n) + 1);
    p.column = Array<std::int32_t>(n);
    p.value = Array<double>(std::int64_t(n) * height * k);
    for (std::int32_t i = 0; i <= n; ++i) p.start[i] = i;
    std::copy(aggregates.of.begin(), aggregates.of.end(), p.column.data());
    result.coarse.count = k;
    result.coarse.value = Array<double>(std::int64_t(aggregates.count) * k * k);
    each_range(team, aggregates.count, [&](std::int64_t begin, std::int64_t end) {
        std::vector<double> column, r(static_cast<std::size_t>(k) * k);
        for (std::int64_t a = begin; a < end; ++a) {
            const std::int64_t members = start[a + 1] - start[a], length = members * height;
            column.resize(static_cast<std::size_t>(length * k));  // one vector after another
            for (std::int64_t m = 0; m < members; ++m)
                for (int row = 0; row < height; ++row)
                    for (int c = 0; c < k; ++c)
                        column[c * length + m * height + row] =
                            vectors.value[(std::int64_t(node[start[a] + m]) * height + row) * k + c];
            std::fill(r.begin(), r.end(), 0.0);
            for (int c = 0; c < k; ++c) {  // modified Gram-Schmidt, twice
                double *q = column.data() + c * length;
                const double before = std::sqrt(squared_norm(q, length));
                for (int pass = 0; pass < 2; ++pass)
                    for (int other = 0; other < c; ++other) {
                        const double *o = column.data() + other * length;
                        double dot = 0.0;
                        for (std::int64_t i = 0; i < length; ++i) dot += o[i] * q[i];
                        for (std::int64_t i = 0; i < length; ++i) q[i] -= dot * o[i];
                        r[other * k + c] += dot;
                    }
                const double left = std::sqrt(squared_norm(q, length));
                const bool independent = left > dependent * before;
                r[c * k + c] = independent ? left : 0.0;
                for (std::int64_t i = 0; i < length; ++i) q[i] = independent ? q[i] / left : 0.0;
            }
            for (std::int64_t m = 0; m < members; ++m) {
                double *block = p.at(node[start[a] + m]);
                for (int c = 0; c < k; ++c)
                    for (int row = 0; row < height; ++row) block[c * height + row] = column[c * length + m * height + row];
            }
            std::copy(r.begin(), r.end(), result.coarse.value.data() + a * k * k);
        }
    });
    return result;
}

}  // namespace gabp
