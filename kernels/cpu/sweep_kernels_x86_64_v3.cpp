// The same loops for x86-64 processors with AVX2 and FMA; CMakeLists.txt sets the flags.
#ifdef GABP_X86_LEVELS
#include "sweep_kernels.inc"

namespace gabp {

const SweepKernels &sweep_kernels_x86_64_v3(int columns);
const SweepKernels &sweep_kernels_x86_64_v3(int columns) { return kernels_for(columns); }

}  // namespace gabp
#endif
