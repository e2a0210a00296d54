// The tensors that cross from Python: contiguous, on the CPU, never copied.
#pragma once

#include "common/array.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace gabp {

namespace nb = nanobind;

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// (n, k): one row per node or slot, one column per right-hand side.
template <class T>
using Columns = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

using Offsets = Vector<const std::int64_t>;
using Nodes = Vector<const std::int32_t>;

// The array behind a Python object, exactly as it is: a wrong type or layout is an error, never a copy.
template <class Array>
Array take(nb::handle object) {
    Array array;
    if (!nb::try_cast<Array>(object, array, false)) throw std::invalid_argument("not the array this kernel expects");
    return array;
}

// A vector handed over to torch.
template <class T>
nb::ndarray<nb::pytorch, T, nb::ndim<1>> give(std::vector<T> &&values) {
    auto *owned = new std::vector<T>(std::move(values));
    nb::capsule owner(owned, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    return nb::ndarray<nb::pytorch, T, nb::ndim<1>>(owned->data(), {owned->size()}, owner);
}

template <class T>
nb::ndarray<nb::pytorch, T, nb::ndim<1>> give(Array<T> &&values) {
    auto *owned = new Array<T>(std::move(values));
    nb::capsule owner(owned, [](void *p) noexcept { delete static_cast<Array<T> *>(p); });
    return nb::ndarray<nb::pytorch, T, nb::ndim<1>>(owned->data(), {static_cast<std::size_t>(owned->size())}, owner);
}

inline void require(bool condition, const char *what) {
    if (!condition) throw std::invalid_argument(what);
}

}  // namespace gabp
