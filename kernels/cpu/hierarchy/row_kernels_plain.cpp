// The loops for every processor, and the dispatch between instruction sets.
#include "common/cpu_dispatch.hpp"
#include "hierarchy/row_kernels.inc"

namespace gabp {

#ifdef GABP_X86
const RowKernels &row_kernels_v3(int columns);  // row_kernels_v3.cpp
#endif

const RowKernels &row_kernels(int columns) {
#ifdef GABP_X86
    static const bool newer = &instruction_set() != &isa_plain;
    if (newer) return row_kernels_v3(columns);
#endif
    return kernels_for(columns);
}

}  // namespace gabp
