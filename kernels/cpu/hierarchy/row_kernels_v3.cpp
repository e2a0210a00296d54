// The same loops for x86-64 processors with AVX2 and FMA; CMakeLists.txt sets the flags.
#ifdef GABP_X86
#include "hierarchy/row_kernels.inc"

namespace gabp {

const RowKernels &row_kernels_v3(int columns);
const RowKernels &row_kernels_v3(int columns) { return kernels_for(columns); }

}  // namespace gabp
#endif
