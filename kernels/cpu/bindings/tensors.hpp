// Tensors received from and returned to Python: contiguous, on the CPU, never copied.
#pragma once

#include "common/array.hpp"
#include "common/pattern.hpp"

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

// (n, k): one row per node or directed edge, one column per right-hand side.
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

inline Pattern pattern_of(const Offsets &start, const Nodes &source) {
    require(start.shape(0) >= 1, "start must have n + 1 entries");
    const auto n = static_cast<std::int64_t>(start.shape(0)) - 1;
    require(start.data()[n] == static_cast<std::int64_t>(source.shape(0)), "start must end at the number of edges");
    return {start.data(), source.data(), n};
}

// With the reverse edges.
inline Pattern pattern_of(const Offsets &start, const Nodes &source, const Offsets &reverse) {
    Pattern pattern = pattern_of(start, source);
    require(reverse.shape(0) == source.shape(0), "reverse must have one entry per edge");
    pattern.reverse = reverse.data();
    return pattern;
}

}  // namespace gabp
