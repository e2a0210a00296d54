// The same loops for x86-64 processors with AVX2 and FMA; CMakeLists.txt sets the flags.
#ifdef GABP_X86
#include "blocks/block_kernels.inc"

namespace gabp {

const BlockKernels &block_kernels_v3(int d);
const BlockKernels &block_kernels_v3(int d) { return kernels_for(d); }

}  // namespace gabp
#endif
