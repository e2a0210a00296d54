#include "common/cpu_dispatch.hpp"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace gabp {
namespace {

bool supported(const InstructionSet &isa) {
#ifdef GABP_X86
    __builtin_cpu_init();
    if (&isa == &isa_v4)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && supported(isa_v3);
    if (&isa == &isa_v3)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
               __builtin_cpu_supports("avx");
#endif
    return &isa == &isa_plain;
}

const InstructionSet &choose() {
#ifdef GABP_X86
    const char *wanted = std::getenv("GABP_ISA");  // for comparisons, and to test the narrower ones
    for (const InstructionSet *isa : {&isa_v4, &isa_v3})
        if (supported(*isa) && (wanted == nullptr || std::strcmp(wanted, isa->name) == 0)) return *isa;
#endif
    return isa_plain;
}

}  // namespace

const InstructionSet &instruction_set() {
    static const InstructionSet &chosen = choose();
    return chosen;
}

template <>
const Kernels<float> &kernels<float>() {
    return instruction_set().in_float;
}

template <>
const Kernels<double> &kernels<double>() {
    return instruction_set().in_double;
}

}  // namespace gabp
