// The kernels' builds for different processors.
#pragma once

#include "sliced.hpp"

namespace gabp {

struct Level {
    const char *name;
    const Kernels<float> &in_float;
    const Kernels<double> &in_double;
};

extern const Level level_plain, level_v3, level_v4;

// The fastest build that this processor can run.
const Level &level();

template <class T>
const Kernels<T> &kernels();

}  // namespace gabp
