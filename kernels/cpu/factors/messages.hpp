// Messages from Gaussian factors to their variables; see kernels/torch/factor_messages.py.
#pragma once

#include <cstdint>

namespace gabp {

struct GaussianFactors {
    std::int64_t count, variables, width;  // width: the unknowns of a factor
    const std::int64_t *dimension;         // (variables)
    const double *precision;               // (count, width, width)
    const double *potential;               // (count, width)
};

// Packed: the blocks of a factor's variables one after another.
template <class T>
struct FactorMessages {
    std::int64_t packed;  // numbers of the blocks of one factor
    T *precision;         // (count, packed)
    T *potential;         // (count, width)
};

// definite: (count), whether every matrix that was eliminated is positive definite.
void outgoing_messages(const GaussianFactors &factors, const FactorMessages<const double> &incoming,
                       const FactorMessages<double> &sent, bool *definite);

// JᵀΛJ and Jᵀ(η - Λδ) for the messages listed: the rows `factor`, of dimension d from `row` on, packed from `block` on.
// The variable of each has its δ (d) and J (d, d) in `delta` and `turn`.
struct Transport {
    std::int64_t count, dimension, width, packed, row, block;
    const std::int64_t *factor, *variable;
    const double *delta, *turn;
};
void transport_messages(const Transport &transport, double *precision, double *potential);

}  // namespace gabp
