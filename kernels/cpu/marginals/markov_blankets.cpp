// Each node seen from the rim of a small patch around it: with P the patch and S the nodes next to it,
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
    const std::int64_t *start;
    const std::int32_t *source;
    const double *diagonal;
    const double *weight;
    std::int64_t n;
};

class Patch {
public:
    explicit Patch(const Model &model) : model_(model), place_(model.n, outside) {}

    // Breadth first, while neither patch nor rim grows too large. Returns false where A_PP is not positive definite.
    bool grow(std::int32_t node, std::int32_t largest, std::int32_t longest_rim) {
        node_.clear();
        rim_.clear();
        rim_.push_back(node);
        place_[node] = on_rim;
        std::size_t inner = 0;  // rim_[:inner] has moved into the patch
        while (inner < rim_.size() && static_cast<std::int32_t>(node_.size()) < largest) {
            const std::int32_t next = rim_[inner];
            const std::size_t before = rim_.size();
            for (std::int64_t e = model_.start[next]; e < model_.start[next + 1]; ++e) {
                const std::int32_t k = model_.source[e];
                if (place_[k] != outside) continue;
                place_[k] = on_rim;
                rim_.push_back(k);
            }
            if (!node_.empty() && static_cast<std::int64_t>(rim_.size() - inner - 1) > longest_rim) {
                while (rim_.size() > before) {
                    place_[rim_.back()] = outside;
                    rim_.pop_back();
                }
                break;
            }
            place_[next] = static_cast<std::int32_t>(node_.size());
            node_.push_back(next);
            ++inner;
        }
        rim_.erase(rim_.begin(), rim_.begin() + static_cast<std::ptrdiff_t>(inner));
        const bool definite = condition();
        for (const std::int32_t i : node_) place_[i] = outside;
        for (const std::int32_t k : rim_) place_[k] = outside;
        return definite;
    }

    double variance() const { return row_[0]; }
    const std::vector<std::int32_t> &rim() const { return rim_; }
    const std::vector<double> &coefficient() const { return coefficient_; }

private:
    static constexpr std::int32_t outside = -2, on_rim = -1;

    // row_ = the first row of A_PP⁻¹, coefficient_ = -(A_PP⁻¹ A_PS) in that row
    bool condition() {
        const auto size = static_cast<dense::Index>(node_.size());
        block_.assign(size * size, 0.0);
        for (dense::Index p = 0; p < size; ++p) {
            block_[p + p * size] = model_.diagonal[node_[p]];
            for (std::int64_t e = model_.start[node_[p]]; e < model_.start[node_[p] + 1]; ++e) {
                const std::int32_t q = place_[model_.source[e]];
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
        for (std::size_t k = 0; k < rim_.size(); ++k) place_[rim_[k]] = -3 - static_cast<std::int32_t>(k);
        coefficient_.assign(rim_.size(), 0.0);
        for (dense::Index p = 0; p < size; ++p) {
            for (std::int64_t e = model_.start[node_[p]]; e < model_.start[node_[p] + 1]; ++e) {
                const std::int32_t k = -3 - place_[model_.source[e]];
                if (k >= 0) coefficient_[k] -= row_[p] * model_.weight[e];
            }
        }
        return true;
    }

    const Model &model_;
    std::vector<std::int32_t> place_;  // in the patch; below -2: -3 - the place on the rim
    std::vector<std::int32_t> node_, rim_;
    std::vector<double> block_, row_, coefficient_;
};

// Two passes: how long each rim is, then the numbers. Returns the first node whose patch is not positive definite.
std::int64_t condition_all(const Model &model, std::int32_t largest, std::int32_t longest_rim, double *variance,
                           std::int64_t *rim_start, std::int32_t *rim, double *coefficient, int threads) {
    constexpr std::int64_t chunks = 64;  // each has a map of all nodes to set up
    const std::int64_t grain = (model.n + chunks - 1) / chunks;
    std::vector<std::int64_t> bad(chunks, model.n);
    for_ranges(threads, model.n, grain, [&](std::int64_t first, std::int64_t last) {
        Patch patch(model);
        for (std::int64_t i = first; i < last; ++i) {
            if (!patch.grow(static_cast<std::int32_t>(i), largest, longest_rim)) {
                bad[first / grain] = std::min(bad[first / grain], i);
                continue;
            }
            if (variance != nullptr) {  // the first pass; an empty array may have no address
                rim_start[i + 1] = static_cast<std::int64_t>(patch.rim().size());
                variance[i] = patch.variance();
            } else {
                std::copy(patch.rim().begin(), patch.rim().end(), rim + rim_start[i]);
                std::copy(patch.coefficient().begin(), patch.coefficient().end(), coefficient + rim_start[i]);
            }
        }
    });
    const std::int64_t first_bad = *std::min_element(bad.begin(), bad.end());
    return first_bad == model.n ? -1 : first_bad;
}

}  // namespace

void bind_patches(nb::module_ &m) {
    m.def("patch_rims", [](Offsets start, Nodes source, Vector<const double> diagonal, Vector<const double> weight,
                           std::int32_t largest, std::int32_t longest_rim, Vector<double> variance,
                           Vector<std::int64_t> rim_start, int threads) {
        const Model model{start.data(), source.data(), diagonal.data(), weight.data(),
                          static_cast<std::int64_t>(diagonal.shape(0))};
        nb::gil_scoped_release release;
        rim_start.data()[0] = 0;
        const std::int64_t bad = condition_all(model, largest, longest_rim, variance.data(), rim_start.data(), nullptr,
                                               nullptr, threads);
        for (std::int64_t i = 0; i < model.n; ++i) rim_start.data()[i + 1] += rim_start.data()[i];
        return bad;
    });
    m.def("patch_coefficients",
          [](Offsets start, Nodes source, Vector<const double> diagonal, Vector<const double> weight,
             std::int32_t largest, std::int32_t longest_rim, Vector<std::int64_t> rim_start, Vector<std::int32_t> rim,
             Vector<double> coefficient, int threads) {
              const Model model{start.data(), source.data(), diagonal.data(), weight.data(),
                                static_cast<std::int64_t>(diagonal.shape(0))};
              nb::gil_scoped_release release;
              condition_all(model, largest, longest_rim, nullptr, rim_start.data(), rim.data(), coefficient.data(),
                            threads);
          });
}

}  // namespace gabp
