// Flooding sweeps compiled for AVX-512 (x86-64-v4); see CMakeLists.txt for the flags.
#include "common/cpu_dispatch.hpp"
#include "sweeps/message_rules.hpp"

namespace gabp {
const InstructionSet isa_v4{"v4", kernels_float, kernels_double};
}
