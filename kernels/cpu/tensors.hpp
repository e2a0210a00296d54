// The tensors that cross from Python: contiguous, on the CPU, never copied.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace gabp {

namespace nb = nanobind;

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// (n, k): one row per node or slot, one column per right-hand side.
template <class T>
using Columns = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

using Offsets = Vector<const std::int64_t>;
using Nodes = Vector<const std::int32_t>;

inline void require(bool condition, const char *what) {
    if (!condition) throw std::invalid_argument(what);
}

}  // namespace gabp
