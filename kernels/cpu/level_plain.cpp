// The sweeps compiled for every processor; see CMakeLists.txt for the flags.
#include "levels.hpp"
#include "rules.hpp"

namespace gabp {
const Level level_plain{"plain", kernels_float, kernels_double};
}
