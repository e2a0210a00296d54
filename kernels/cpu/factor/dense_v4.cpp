// Dense kernels for AVX-512 (x86-64-v4); see CMakeLists.txt for the flags.
#define GABP_DENSE_ISA v4
#define GABP_LANES 8
#define GABP_TILE_VECTORS 3
#define GABP_TILE_COLUMNS 8
#include "factor/dense_kernels.inc"
