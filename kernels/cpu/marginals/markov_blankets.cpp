// The conditional of each node given the Markov blanket of a region around it: with P the region and S its blanket,
//     Var(x_i | x_S) = (A_PP⁻¹)_ii ,    E(x_i | x_S) = -(A_PP⁻¹ A_PS x_S)_i .
#include "factor/dense.hpp"
#include "common/pool.hpp"
#include "bindings/tensors.hpp"

#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <tuple>
#include <vector>

namespace gabp {
namespace {

struct Model {
    Pattern pattern;
    const double *diagonal;
    const double *weight;
};

struct Limits {
    std::int32_t region, blanket;  // nodes
};

class Region {
public:
    explicit Region(const Model &model) : model_(model), place_(model.pattern.n, outside) {}

    // Breadth first, up to the largest sizes. Returns false where A_PP is not positive definite.
    bool condition_node(std::int32_t node, const Limits &limits) {
        region_.clear();
        blanket_.clear();
        blanket_.push_back(node);
        place_[node] = on_blanket;
        std::size_t inner = 0;  // blanket_[:inner] has moved into the region
        while (inner < blanket_.size() && static_cast<std::int32_t>(region_.size()) < limits.region) {
            const std::int32_t next = blanket_[inner];
            const std::size_t before = blanket_.size();
            for (std::int64_t e = model_.pattern.start[next]; e < model_.pattern.start[next + 1]; ++e) {
                const std::int32_t k = model_.pattern.source[e];
                if (place_[k] != outside) continue;
                place_[k] = on_blanket;
                blanket_.push_back(k);
            }
            if (!region_.empty() && static_cast<std::int64_t>(blanket_.size() - inner - 1) > limits.blanket) {
                while (blanket_.size() > before) {
                    place_[blanket_.back()] = outside;
                    blanket_.pop_back();
                }
                break;
            }
            place_[next] = static_cast<std::int32_t>(region_.size());
            region_.push_back(next);
            ++inner;
        }
        blanket_.erase(blanket_.begin(), blanket_.begin() + static_cast<std::ptrdiff_t>(inner));
        const bool definite = solve_conditional();
        for (const std::int32_t i : region_) place_[i] = outside;
        for (const std::int32_t k : blanket_) place_[k] = outside;
        return definite;
    }

    double variance() const { return row_[0]; }
    const std::vector<std::int32_t> &blanket() const { return blanket_; }
    const std::vector<double> &coefficient() const { return coefficient_; }

private:
    static constexpr std::int32_t outside = -2, on_blanket = -1;

    // row_ = the first row of A_PP⁻¹, coefficient_ = -(A_PP⁻¹ A_PS) in that row
    bool solve_conditional() {
        const auto size = static_cast<dense::Index>(region_.size());
        block_.assign(size * size, 0.0);
        for (dense::Index p = 0; p < size; ++p) {
            block_[p + p * size] = model_.diagonal[region_[p]];
            for (std::int64_t e = model_.pattern.start[region_[p]]; e < model_.pattern.start[region_[p] + 1]; ++e) {
                const std::int32_t q = place_[model_.pattern.source[e]];
                if (q >= 0 && q < p) block_[p + q * size] = model_.weight[e];
            }
        }
        if (dense::cholesky(block_.data(), size, size, size, 1) >= 0) return false;
        row_.assign(size, 0.0);
        row_[0] = 1.0;
        for (dense::Index j = 0; j < size; ++j) {
            row_[j] /= block_[j + j * size];
            for (dense::Index i = j + 1; i < size; ++i) row_[i] -= block_[i + j * size] * row_[j];
        }
        for (dense::Index j = size - 1; j >= 0; --j) {
            for (dense::Index i = j + 1; i < size; ++i) row_[j] -= block_[i + j * size] * row_[i];
            row_[j] /= block_[j + j * size];
        }
        for (std::size_t k = 0; k < blanket_.size(); ++k) place_[blanket_[k]] = -3 - static_cast<std::int32_t>(k);
        coefficient_.assign(blanket_.size(), 0.0);
        for (dense::Index p = 0; p < size; ++p) {
            for (std::int64_t e = model_.pattern.start[region_[p]]; e < model_.pattern.start[region_[p] + 1]; ++e) {
                const std::int32_t k = -3 - place_[model_.pattern.source[e]];
                if (k >= 0) coefficient_[k] -= row_[p] * model_.weight[e];
            }
        }
        return true;
    }

    const Model &model_;
    std::vector<std::int32_t> place_;  // in the region, or -3 - the place in the blanket, or outside, on_blanket
    std::vector<std::int32_t> region_, blanket_;
    std::vector<double> block_, row_, coefficient_;
};

struct Conditionals {
    double *variance;  // null in the second pass
    std::int64_t *blanket_start;
    std::int32_t *blanket;
    double *coefficient;
};

// Two passes: variances and sizes of the blankets, then their nodes and coefficients. Returns the first node whose
// A_PP is not positive definite, or -1.
std::int64_t condition_nodes(const Model &model, const Limits &limits, const Conditionals &out, int threads) {
    constexpr std::int64_t chunks = 64;  // each allocates a map of all nodes
    const std::int64_t n = model.pattern.n, grain = (n + chunks - 1) / chunks;
    std::vector<std::int64_t> failed(chunks, n);
    for_ranges(threads, n, grain, [&](std::int64_t first, std::int64_t last) {
        Region region(model);
        for (std::int64_t i = first; i < last; ++i) {
            if (!region.condition_node(static_cast<std::int32_t>(i), limits)) {
                failed[first / grain] = std::min(failed[first / grain], i);
                continue;
            }
            if (out.variance != nullptr) {
                out.blanket_start[i + 1] = static_cast<std::int64_t>(region.blanket().size());
                out.variance[i] = region.variance();
            } else {
                const std::int64_t at = out.blanket_start[i];
                std::copy(region.blanket().begin(), region.blanket().end(), out.blanket + at);
                std::copy(region.coefficient().begin(), region.coefficient().end(), out.coefficient + at);
            }
        }
    });
    const std::int64_t first_failed = *std::min_element(failed.begin(), failed.end());
    return first_failed == n ? -1 : first_failed;
}

}  // namespace

void bind_markov_blankets(nb::module_ &m) {
    m.def("conditional_variances", [](Offsets start, Nodes source, Vector<const double> diagonal, Vector<const double> weight,
                                std::int32_t largest_region, std::int32_t largest_blanket, Vector<double> variance,
                                Vector<std::int64_t> blanket_start, int threads) {
        const Model model{pattern_of(start, source), diagonal.data(), weight.data()};
        nb::gil_scoped_release release;
        std::int64_t *offset = blanket_start.data();
        offset[0] = 0;
        const std::int64_t failed = condition_nodes(model, {largest_region, largest_blanket},
                                                    {variance.data(), offset, nullptr, nullptr}, threads);
        for (std::int64_t i = 0; i < model.pattern.n; ++i) offset[i + 1] += offset[i];
        return failed;
    });
    m.def("conditional_means",
          [](Offsets start, Nodes source, Vector<const double> diagonal, Vector<const double> weight,
             std::int32_t largest_region, std::int32_t largest_blanket, Vector<std::int64_t> blanket_start,
             Vector<std::int32_t> blanket, Vector<double> coefficient, int threads) {
              const Model model{pattern_of(start, source), diagonal.data(), weight.data()};
              nb::gil_scoped_release release;
              condition_nodes(model, {largest_region, largest_blanket},
                              {nullptr, blanket_start.data(), blanket.data(), coefficient.data()}, threads);
          });
}

}  // namespace gabp
