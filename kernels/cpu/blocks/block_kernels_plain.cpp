// The loops for every processor, and the choice between them.
#include "blocks/block_kernels.inc"
#include "common/cpu_dispatch.hpp"

namespace gabp {

#ifdef GABP_X86
const BlockKernels &block_kernels_v3(int d);  // block_kernels_v3.cpp
#endif

const BlockKernels &block_kernels(int d) {
#ifdef GABP_X86
    static const bool newer = &instruction_set() != &isa_plain;
    if (newer) return block_kernels_v3(d);
#endif
    return kernels_for(d);
}

}  // namespace gabp
