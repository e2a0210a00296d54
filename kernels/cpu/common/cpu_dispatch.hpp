// Dispatch between the instruction sets that the kernels are compiled for.
#pragma once

#include "layout/sliced.hpp"

namespace gabp {

struct InstructionSet {
    const char *name;
    const Kernels<float> &in_float;
    const Kernels<double> &in_double;
};

extern const InstructionSet isa_plain, isa_v3, isa_v4;

// The widest one that this processor supports.
const InstructionSet &instruction_set();

template <class T>
const Kernels<T> &kernels();

}  // namespace gabp
