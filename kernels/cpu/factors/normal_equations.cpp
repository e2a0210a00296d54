#include "factors/normal_equations.hpp"

#include <algorithm>
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
        const double *jacobian = factors_.jacobian + f * d * n, *residual = factors_.residual + f * d;
        const double weight = factors_.weight == nullptr ? 1.0 : factors_.weight[f];
        const double *j = jacobian;
        if (factors_.root != nullptr) {
            whiten(factors_.root + (factors_.shared_root ? 0 : f * d * d), jacobian);
            j = whitened_.data();
        }
        std::fill(product_.begin(), product_.end(), 0.0);
        std::fill(gradient_.begin(), gradient_.end(), 0.0);
        for (int k = 0; k < d; ++k) {
            const double *row = j + k * n;
            const double scaled = weight * residual[k];
            for (int b = 0; b < n; ++b) gradient_[b] += scaled * row[b];
            for (int a = 0; a < n; ++a) {
                const double left = weight * row[a];
                double *to = product_.data() + a * n;
                for (int b = 0; b < n; ++b) to[b] += left * row[b];
            }
        }
    }
    // Exactly symmetric: entries of the upper triangle stand for both.
    double product(int a, int b) const { return a <= b ? product_[a * columns() + b] : product_[b * columns() + a]; }
    double gradient(int a) const { return gradient_[a]; }
    int columns() const { return Columns > 0 ? Columns : static_cast<int>(factors_.columns); }

private:
    int rows() const { return Rows > 0 ? Rows : static_cast<int>(factors_.rows); }
    void whiten(const double *root, const double *jacobian) {
        const int d = rows(), n = columns();
        for (int k = 0; k < d; ++k) {
            double *to = whitened_.data() + k * n;
            for (int b = 0; b < n; ++b) to[b] = 0.0;
            for (int l = 0; l < d; ++l) {
                const double factor = root[k * d + l];
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
                    if (own) {
                        for (int j = 0; j < i; ++j) to[j] += products.product(first + i, second + j);
                        diagonal[unknown[p] + i] += products.product(first + i, second + i);
                        for (int j = i + 1; j < width; ++j) to[j - 1] += products.product(first + i, second + j);
                    } else {
                        for (int j = 0; j < width; ++j) to[j] += products.product(first + i, second + j);
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
