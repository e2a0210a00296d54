// Dense kernels for AVX2 and FMA (x86-64-v3); see CMakeLists.txt for the flags.
#define GABP_DENSE_ISA v3
#define GABP_LANES 4
#define GABP_TILE_VECTORS 3
#define GABP_TILE_COLUMNS 4
#include "factor/dense_kernels.inc"
