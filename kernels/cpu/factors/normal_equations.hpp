// Sums A = Σ w JᵀΩJ and g = Σ w JᵀΩr over factors, on a pattern that is known; see kernels/torch/normal_equations.py.
#pragma once

#include <cstdint>

namespace gabp {

struct FactorArrays {
    std::int64_t count, rows, columns;  // factors, dimension of a residual, derivatives of one
    const double *root;                 // (count or 1, rows, rows), or null for the identity
    bool shared_root;
    const double *residual;  // (count, rows), whitened
    const double *jacobian;  // (count, rows, columns), not whitened
    const double *weight;    // (count), or null for 1
};

struct PlaceArrays {
    std::int64_t variables;
    const std::int64_t *dimension;  // (variables)
    const std::int64_t *unknown;    // (count, variables)
    const std::int64_t *block;      // (count, variables, variables)
    const std::int64_t *stride;     // (count, variables)
};

// What is added to: off-diagonal values, diagonal, gradient.
struct SumArrays {
    double *weight, *diagonal, *gradient;
};

// W r of each factor, for a residual that is not whitened, and its squared norm.
void whiten(const FactorArrays &factors, double *whitened, double *squared);

// The products of each factor by itself: w JᵀΩJ (count, columns, columns) and w JᵀΩr (count, columns).
void products(const FactorArrays &factors, double *product, double *gradient);

void add_products(const FactorArrays &factors, const PlaceArrays &places, const SumArrays &sums);

}  // namespace gabp
