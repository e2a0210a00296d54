// Flooding sweeps compiled for AVX2 and FMA (x86-64-v3); see CMakeLists.txt for the flags.
#include "common/cpu_dispatch.hpp"
#include "sweeps/message_rules.hpp"

namespace gabp {
const InstructionSet isa_v3{"v3", kernels_float, kernels_double};
}
