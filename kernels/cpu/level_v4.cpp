// The sweeps compiled for AVX-512 (x86-64-v4); see CMakeLists.txt for the flags.
#include "levels.hpp"
#include "rules.hpp"

namespace gabp {
const Level level_v4{"v4", kernels_float, kernels_double};
}
