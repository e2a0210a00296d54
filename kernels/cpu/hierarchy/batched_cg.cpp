#include "hierarchy/batched_cg.hpp"

#include <algorithm>

namespace gabp {

BatchedCG::BatchedCG(std::int64_t n, std::int64_t columns, Team team, const MakeSolver &make)
    : n_(n), columns_(columns), team_(team), lowest_(static_cast<std::size_t>(columns), INFINITY) {
    for (std::int64_t c = 0; c < columns_; c += 8)
        group_.push_back(make(c, static_cast<int>(std::min<std::int64_t>(8, columns_ - c)), team_));
}

std::int64_t BatchedCG::iterate(std::int64_t most, const double *target, std::int64_t stall_limit) {
    std::int64_t done = 0;
    flat_group_ = -1;
    for (; done < most && flat_group_ < 0 && stalled_ < std::max(stall_limit, iterations_ / 2); ++done) {
        bool all = true, improved = false;
        for (std::size_t g = 0; g < group_.size(); ++g) {
            if (reached(g, target)) continue;
            all = false;
            group_[g]->iterate();
            improved = norm_decreased(g) || group_[g]->energy_decreased() || improved;
            if (group_[g]->flat_column() >= 0) flat_group_ = static_cast<int>(g);
        }
        if (all) break;
        stalled_ = improved ? 0 : stalled_ + 1;
        ++iterations_;
    }
    return done;
}

void BatchedCG::write_solution(double *out) {
    for (std::size_t g = 0; g < group_.size(); ++g) group_[g]->write_solution(out + 8 * g, columns_);
}

std::vector<double> BatchedCG::norms() const {
    std::vector<double> all;
    for (const auto &g : group_) all.insert(all.end(), g->norms().begin(), g->norms().begin() + g->columns());
    return all;
}

void BatchedCG::write_flat_direction(double *out) const {
    group_[flat_group_]->write_direction(group_[flat_group_]->flat_column(), out);
}

bool BatchedCG::reached(std::size_t g, const double *target) const {
    for (int c = 0; c < group_[g]->columns(); ++c) {
        const double norm = group_[g]->norms()[static_cast<std::size_t>(c)];
        if (!(norm <= target[8 * g + static_cast<std::size_t>(c)])) return false;
    }
    return true;
}

bool BatchedCG::norm_decreased(std::size_t g) {
    bool any = false;
    for (int c = 0; c < group_[g]->columns(); ++c) {
        double &lowest = lowest_[8 * g + static_cast<std::size_t>(c)];
        const double norm = group_[g]->norms()[static_cast<std::size_t>(c)];
        if (norm < lowest) {
            lowest = norm;
            any = true;
        }
    }
    return any;
}

}  // namespace gabp
