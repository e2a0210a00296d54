// The loops for every processor, and the choice between them.
#include "levels.hpp"
#include "sweep_kernels.inc"

namespace gabp {

#ifdef GABP_X86_LEVELS
const SweepKernels &sweep_kernels_x86_64_v3(int columns);  // sweep_kernels_x86_64_v3.cpp
#endif

const SweepKernels &sweep_kernels(int columns) {
#ifdef GABP_X86_LEVELS
    static const bool newer = &level() != &level_plain;
    if (newer) return sweep_kernels_x86_64_v3(columns);
#endif
    return kernels_for(columns);
}

}  // namespace gabp
