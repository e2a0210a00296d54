#include "factors/normal_equations.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace gabp {
namespace {

// The numbers of one factor. Sizes known at compile time, 0 where they are not, unroll the loops of common kinds.
template <int Rows, int Columns>
class Products {
public:
    explicit Products(const FactorArrays &factors)
        : factors_(factors), whitened_(factors.rows * factors.columns), product_(factors.columns * factors.columns),
          gradient_(factors.columns) {}

    void compute(std::int64_t f) {
        const int d = rows(), n = columns();
        const double *j = factors_.jacobian + f * d * n, *residual = factors_.residual + f * d;
        // The root of the weight on both sides: products are exactly symmetric.
        const double scale = factors_.weight == nullptr ? 1.0 : std::sqrt(factors_.weight[f]);
        if (factors_.root != nullptr || factors_.weight != nullptr) {
            whiten(factors_.root == nullptr ? nullptr : factors_.root + (factors_.shared_root ? 0 : f * d * d), j, scale);
            j = whitened_.data();
        }
        double *product = product_.data(), *gradient = gradient_.data();
        std::fill(product, product + n * n, 0.0);
        std::fill(gradient, gradient + n, 0.0);
        for (int k = 0; k < d; ++k) {
            const double *row = j + k * n;
            const double scaled = scale * residual[k];
            for (int b = 0; b < n; ++b) gradient[b] += scaled * row[b];
            for (int a = 0; a < n; ++a) {
                const double left = row[a];
                for (int b = 0; b < n; ++b) product[a * n + b] += left * row[b];
            }
        }
    }
    const double *product(int a) const { return product_.data() + a * columns(); }
    double gradient(int a) const { return gradient_[a]; }
    int columns() const { return Columns > 0 ? Columns : static_cast<int>(factors_.columns); }

private:
    int rows() const { return Rows > 0 ? Rows : static_cast<int>(factors_.rows); }
    void whiten(const double *root, const double *jacobian, double scale) {
        const int d = rows(), n = columns();
        for (int k = 0; k < d; ++k) {
            double *to = whitened_.data() + k * n;
            if (root == nullptr) {
                for (int b = 0; b < n; ++b) to[b] = scale * jacobian[k * n + b];
                continue;
            }
            for (int b = 0; b < n; ++b) to[b] = 0.0;
            for (int l = 0; l < d; ++l) {
                const double factor = scale * root[k * d + l];
                if (factor == 0.0) continue;  // the root is triangular where the information is definite
                for (int b = 0; b < n; ++b) to[b] += factor * jacobian[l * n + b];
            }
        }
    }

    const FactorArrays &factors_;
    std::vector<double> whitened_, product_, gradient_;
};

template <int Rows, int Columns>
void add_all(const FactorArrays &factors, const PlaceArrays &places, double *weight, double *diagonal,
             double *gradient) {
    Products<Rows, Columns> products(factors);
    const int variables = static_cast<int>(places.variables);
    for (std::int64_t f = 0; f < factors.count; ++f) {
        products.compute(f);
        const std::int64_t *unknown = places.unknown + f * variables, *stride = places.stride + f * variables;
        const std::int64_t *block = places.block + f * variables * variables;
        int first = 0;
        for (int p = 0; p < variables; first += static_cast<int>(places.dimension[p++])) {
            if (unknown[p] < 0) continue;
            const int height = static_cast<int>(places.dimension[p]);
            for (int i = 0; i < height; ++i) gradient[unknown[p] + i] += products.gradient(first + i);
            int second = 0;
            for (int q = 0; q < variables; second += static_cast<int>(places.dimension[q++])) {
                if (unknown[q] < 0) continue;
                const int width = static_cast<int>(places.dimension[q]);
                const bool own = unknown[q] == unknown[p];
                for (int i = 0; i < height; ++i) {
                    double *to = weight + block[p * variables + q] + i * stride[p];
                    const double *from = products.product(first + i) + second;
                    if (own) {
                        for (int j = 0; j < i; ++j) to[j] += from[j];
                        diagonal[unknown[p] + i] += from[i];
                        for (int j = i + 1; j < width; ++j) to[j - 1] += from[j];
                    } else {
                        for (int j = 0; j < width; ++j) to[j] += from[j];
                    }
                }
            }
        }
    }
}

}  // namespace

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

void add_products(const FactorArrays &factors, const PlaceArrays &places, double *weight, double *diagonal,
                  double *gradient) {
    const auto is = [&](int rows, int columns) { return factors.rows == rows && factors.columns == columns; };
    if (is(6, 12)) return add_all<6, 12>(factors, places, weight, diagonal, gradient);
    if (is(3, 6)) return add_all<3, 6>(factors, places, weight, diagonal, gradient);
    if (is(2, 12)) return add_all<2, 12>(factors, places, weight, diagonal, gradient);
    add_all<0, 0>(factors, places, weight, diagonal, gradient);
}

}  // namespace gabp
