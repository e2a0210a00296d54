// Dense kernels for every processor; see CMakeLists.txt for the flags.
#define GABP_DENSE_ISA plain
#define GABP_LANES 2
#define GABP_TILE_VECTORS 2
#define GABP_TILE_COLUMNS 4
#include "factor/dense_kernels.inc"
