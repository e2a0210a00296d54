// The loops for every processor, and the dispatch between instruction sets.
#include "common/cpu_dispatch.hpp"
#include "factors/normal_equations.inc"

#include <algorithm>
#include <vector>

namespace gabp {

#ifdef GABP_X86
// normal_equations_v3.cpp
void add_products_v3(const FactorArrays &factors, const PlaceArrays &places, const SumArrays &sums, double *workspace);
#endif

void whiten(const FactorArrays &factors, double *whitened, double *squared) {
    const std::int64_t d = factors.rows;
    for (std::int64_t f = 0; f < factors.count; ++f) {
        const double *residual = factors.residual + f * d;
        double *out = whitened + f * d, norm = 0;
        if (factors.root == nullptr) {
            std::copy(residual, residual + d, out);
        } else {
            const double *root = factors.root + (factors.shared_root ? 0 : f * d * d);
            for (std::int64_t k = 0; k < d; ++k) {
                double sum = 0;
                for (std::int64_t l = 0; l < d; ++l) sum += root[k * d + l] * residual[l];
                out[k] = sum;
            }
        }
        for (std::int64_t k = 0; k < d; ++k) norm += out[k] * out[k];
        squared[f] = norm;
    }
}

void products(const FactorArrays &factors, double *product, double *gradient) {
    const std::int64_t n = factors.columns;
    std::vector<double> workspace((1 + n + factors.rows) * n);
    Products<0, 0> one(factors, workspace.data());
    for (std::int64_t f = 0; f < factors.count; ++f, product += n * n, gradient += n) {
        one.compute(f);
        std::copy_n(one.product(0), n * n, product);
        for (int a = 0; a < n; ++a) gradient[a] = one.gradient(a);
    }
}

void add_products(const FactorArrays &factors, const PlaceArrays &places, const SumArrays &sums) {
    std::vector<double> workspace((1 + factors.columns + factors.rows) * factors.columns);
#ifdef GABP_X86
    static const bool newer = &instruction_set() != &isa_plain;
    if (newer) return add_products_v3(factors, places, sums, workspace.data());
#endif
    add_any(factors, places, sums, workspace.data());
}

}  // namespace gabp
