// The choice of an elimination order.
#pragma once

#include "factor/symbolic.hpp"

#include <optional>

namespace gabp {

// The elimination by minimum degree or, where that may pay, by nested dissection, whichever takes fewer operations;
// nothing where it takes more than most_flops, or minimum degree does and these are too few to pay for a dissection.
// The same for any number of threads.
std::optional<EliminationTree> cheapest_elimination(const Pattern &pattern, double most_flops, int threads);

}  // namespace gabp
