#include "blocks/block_cg.hpp"

#include <algorithm>
#include <cmath>

namespace gabp {

BlockCG::BlockCG(const BlockHierarchy &hierarchy, const double *residual, std::int64_t stride,
                               int columns, Team &team)
    : CGSolver(columns), hierarchy_(hierarchy), team_(team), cycle_(hierarchy, team) {
    const std::int64_t size = hierarchy.padded(), n = hierarchy.n();
    norm_weight_ = Array<double>(size);
    std::fill(norm_weight_.data(), norm_weight_.data() + size, 0.0);
    for (std::int64_t u = 0; u < n; ++u)
        norm_weight_[hierarchy.place(u)] = 1.0 / (hierarchy.scale(u) * hierarchy.scale(u));
    b_ = Array<float>(size);
    z_ = Array<float>(size);
    partial_.resize(static_cast<std::size_t>((hierarchy.matrix().rows + rows_per_task - 1) / rows_per_task));
    for (int c = 0; c < columns; ++c) {
        column_.push_back({Array<double>(size), Array<double>(size), Array<double>(size), Array<double>(size)});
        for (Array<double> *vector : {&column_[c].solution, &column_[c].residual, &column_[c].direction, &column_[c].image})
            std::fill(vector->data(), vector->data() + size, 0.0);
        for (std::int64_t u = 0; u < n; ++u)
            column_[c].residual[hierarchy.place(u)] = hierarchy.scale(u) * residual[u * stride + c];
        measure(c);
    }
}

// The sum of term(first, last) over ranges of numbers, in their order.
template <class Term>
double BlockCG::sum(const Term &term) {
    const std::int64_t d = hierarchy_.matrix().height;
    each_range(team_, hierarchy_.matrix().rows, [&](std::int64_t first, std::int64_t last) {
        partial_[first / rows_per_task] = term(first * d, last * d);
    });
    double total = 0.0;
    for (const double part : partial_) total += part;
    return total;
}

void BlockCG::measure(int c) {
    const Array<double> &r = column_[c].residual;
    norm_[c] = std::sqrt(sum([&](std::int64_t first, std::int64_t last) {
        double part = 0.0;
        for (std::int64_t i = first; i < last; ++i) part += norm_weight_[i] * r[i] * r[i];
        return part;
    }));
}

void BlockCG::iterate() {
    begin_iteration();
    for (int c = 0; c < columns_; ++c)
        if (norm_[c] > 0.0) iterate_column(c);
}

void BlockCG::iterate_column(int c) {
    Column &v = column_[c];
    const std::int64_t d = hierarchy_.matrix().height;
    each_range(team_, hierarchy_.matrix().rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first * d; i < last * d; ++i) b_[i] = static_cast<float>(v.residual[i]);
    });
    cycle_.apply(b_.data(), z_.data());
    const auto dot_with_cycle = [&](const Array<double> &other) {
        return sum([&](std::int64_t first, std::int64_t last) {
            double part = 0.0;
            for (std::int64_t i = first; i < last; ++i) part += z_[i] * other[i];
            return part;
        });
    };
    // beside strong negative curvature the sweeps overflow: the residual itself then meets it
    if (!std::isfinite(dot_with_cycle(v.residual))) std::copy(b_.data(), b_.data() + b_.size(), z_.data());
    const double along = dot_with_cycle(v.image);
    const double beta = curvature_[c] > 0.0 ? -along / curvature_[c] : 0.0;
    each_range(team_, hierarchy_.matrix().rows, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first * d; i < last * d; ++i) v.direction[i] = z_[i] + beta * v.direction[i];
    });
    const BlockMatrix<double> &a = hierarchy_.matrix();
    const BlockRowsExact rows{a.start.data(), a.column.data(), a.value.data()};
    const BlockKernels &kernel = block_kernels(a.height);
    std::vector<double> slope(partial_.size()), length2(partial_.size());
    const double energy = sum([&](std::int64_t first, std::int64_t last) {
        kernel.product(rows, a.height, first / d, last / d, v.direction.data(), v.image.data());
        double own = 0.0, with_residual = 0.0, square = 0.0;
        for (std::int64_t i = first; i < last; ++i) {
            own += v.direction[i] * v.image[i];
            with_residual += v.direction[i] * v.residual[i];
            square += v.direction[i] * v.direction[i];
        }
        slope[first / d / rows_per_task] = with_residual;
        length2[first / d / rows_per_task] = square;
        return own;
    });
    double slopes = 0.0, lengths = 0.0;
    for (std::size_t k = 0; k < slope.size(); ++k) {
        slopes += slope[k];
        lengths += length2[k];
    }
    set_step_length(c, energy, slopes, lengths, hierarchy_.norm_bound());
    const double alpha = alpha_[c];
    if (alpha == 0.0) return;
    norm_[c] = std::sqrt(sum([&](std::int64_t first, std::int64_t last) {
        double part = 0.0;
        for (std::int64_t i = first; i < last; ++i) {
            v.solution[i] += alpha * v.direction[i];
            v.residual[i] -= alpha * v.image[i];
            part += norm_weight_[i] * v.residual[i] * v.residual[i];
        }
        return part;
    }));
}

void BlockCG::write_solution(double *out, std::int64_t stride) {
    for (std::int64_t u = 0; u < hierarchy_.n(); ++u)
        for (int c = 0; c < columns_; ++c)
            out[u * stride + c] = hierarchy_.scale(u) * column_[c].solution[hierarchy_.place(u)];
}

void BlockCG::write_direction(int column, double *out) const {
    for (std::int64_t u = 0; u < hierarchy_.n(); ++u)
        out[u] = hierarchy_.scale(u) * column_[column].direction[hierarchy_.place(u)];
}

}  // namespace gabp
