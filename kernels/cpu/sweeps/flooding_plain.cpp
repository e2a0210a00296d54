// Flooding sweeps compiled for every processor; see CMakeLists.txt for the flags.
#include "common/cpu_dispatch.hpp"
#include "sweeps/message_rules.hpp"

namespace gabp {
const InstructionSet isa_plain{"plain", kernels_float, kernels_double};
}
