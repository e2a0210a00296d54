// The same loops for x86-64 processors with AVX2 and FMA; CMakeLists.txt sets the flags.
#ifdef GABP_X86
#include "factors/normal_equations.inc"

namespace gabp {

void add_products_v3(const FactorArrays &factors, const PlaceArrays &places, const SumArrays &sums, double *workspace);
void add_products_v3(const FactorArrays &factors, const PlaceArrays &places, const SumArrays &sums, double *workspace) {
    add_any(factors, places, sums, workspace);
}

}  // namespace gabp
#endif
