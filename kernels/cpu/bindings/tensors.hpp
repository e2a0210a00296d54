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

// An array that Python owns, valid while its object lives: the arguments of a call do until it returns.
template <class T, int Dimensions>
class View {
public:
    using Array = nb::ndarray<T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

    View() = default;
    View(void *data, const std::int64_t *shape) : data_(static_cast<T *>(data)) {
        for (int d = 0; d < Dimensions; ++d) shape_[d] = static_cast<std::size_t>(shape[d]);
    }
    T *data() const { return data_; }
    std::size_t shape(int dimension) const { return shape_[dimension]; }

private:
    T *data_ = nullptr;
    std::size_t shape_[Dimensions] = {};
};

template <class T>
using Vector = View<T, 1>;

// (n, k): one row per node or directed edge, one column per right-hand side.
template <class T>
using Columns = View<T, 2>;

using Offsets = Vector<const std::int64_t>;
using Nodes = Vector<const std::int32_t>;

enum class Description { fits, differs, unknown };

// A torch.Tensor as torch describes it by its C interface, which takes a twentieth of the time of `__dlpack__`: whether
// it is contiguous, on the CPU, of this dtype and number of dimensions. If so, `shape` is the tensor's own. Unknown are
// other objects, and all of them where torch has no such interface.
Description describe_tensor(nb::handle object, nb::dlpack::dtype dtype, int dimensions, void *&data,
                            const std::int64_t *&shape) noexcept;

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

namespace nanobind::detail {

template <class T, int Dimensions>
struct type_caster<gabp::View<T, Dimensions>> {
    using Array = typename gabp::View<T, Dimensions>::Array;
    using View = gabp::View<T, Dimensions>;
    NB_TYPE_CASTER(View, make_caster<Array>::Name)

    template <class Flags>
    bool from_python(handle object, Flags flags, cleanup_list *cleanup) noexcept {
        void *data;
        const std::int64_t *shape;
        const auto found = gabp::describe_tensor(object, dtype<std::remove_const_t<T>>(), Dimensions, data, shape);
        if (found == gabp::Description::fits) {
            value = View(data, shape);
            return true;
        }
        const bool convert = (flags & static_cast<Flags>(cast_flags::convert)) != 0;
        if (found == gabp::Description::differs && !convert) return false;
        make_caster<Array> array;
        if (!array.from_python(object, flags, cleanup)) return false;
        std::int64_t sizes[Dimensions];
        for (int d = 0; d < Dimensions; ++d) sizes[d] = static_cast<std::int64_t>(array.value.shape(d));
        value = View(const_cast<std::remove_const_t<T> *>(array.value.data()), sizes);
        return true;
    }
};

}  // namespace nanobind::detail
