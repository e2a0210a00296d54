// The loops for every processor, and the choice between them.
#include "sweep_kernels.inc"

namespace gabp {

#ifdef GABP_X86_LEVELS
const SweepKernels &sweep_kernels_x86_64_v3(int columns);  // sweep_kernels_x86_64_v3.cpp
#endif

const SweepKernels &sweep_kernels(int columns) {
#ifdef GABP_X86_LEVELS
    static const bool newer = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (newer) return sweep_kernels_x86_64_v3(columns);
#endif
    return kernels_for(columns);
}

}  // namespace gabp
