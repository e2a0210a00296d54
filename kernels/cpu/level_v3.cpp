// The sweeps compiled for AVX2 and FMA (x86-64-v3); see CMakeLists.txt for the flags.
#include "levels.hpp"
#include "rules.hpp"

namespace gabp {
const Level level_v3{"v3", kernels_float, kernels_double};
}
