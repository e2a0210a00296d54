#include "levels.hpp"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace gabp {
namespace {

bool runs(const Level &level) {
#ifdef GABP_X86_LEVELS
    __builtin_cpu_init();
    if (&level == &level_v4)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && runs(level_v3);
    if (&level == &level_v3)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
               __builtin_cpu_supports("avx");
#endif
    return &level == &level_plain;
}

const Level &choose() {
#ifdef GABP_X86_LEVELS
    const char *wanted = std::getenv("GABP_LEVEL");  // to compare levels, and to test the slower ones
    for (const Level *level : {&level_v4, &level_v3})
        if (runs(*level) && (wanted == nullptr || std::strcmp(wanted, level->name) == 0)) return *level;
#endif
    return level_plain;
}

}  // namespace

const Level &level() {
    static const Level &chosen = choose();
    return chosen;
}

template <>
const Kernels<float> &kernels<float>() {
    return level().in_float;
}

template <>
const Kernels<double> &kernels<double>() {
    return level().in_double;
}

}  // namespace gabp
