#include "bindings/tensors.hpp"

namespace gabp {
namespace {

// DLPack's C exchange interface, the parts used here in their places (DLPack 1.3, dlpack.h: DLPackExchangeAPI).
struct ExchangeInterface {
    std::uint32_t major_version, minor_version;
    const ExchangeInterface *previous;
    void *allocate, *export_owned, *import_owned;
    int (*describe)(void *object, nb::dlpack::dltensor *out);  // 0, or a Python error; may be null
    void *current_stream;
};

constexpr const char *exchange_name = "dlpack_exchange_api";
constexpr std::uint32_t known_major_version = 1;

// torch.Tensor and its interface; null where this torch has none that is known here.
PyTypeObject *tensor_type = nullptr;
const ExchangeInterface *exchange = nullptr;

bool is_contiguous(const nb::dlpack::dltensor &tensor) {
    if (tensor.strides == nullptr) return true;
    std::int64_t expected = 1, size = 1;
    bool contiguous = true;
    for (int d = tensor.ndim - 1; d >= 0; --d) {
        contiguous &= tensor.shape[d] == 1 || tensor.strides[d] == expected;
        expected *= tensor.shape[d];
        size *= tensor.shape[d];
    }
    return contiguous || size <= 1;
}

}  // namespace

void bind_tensors(nb::module_ &) {
    const nb::object tensor = nb::module_::import_("torch").attr("Tensor");
    const nb::object capsule = nb::getattr(tensor, "__dlpack_c_exchange_api__", nb::none());
    if (!PyCapsule_IsValid(capsule.ptr(), exchange_name)) return;
    const auto *found = static_cast<const ExchangeInterface *>(PyCapsule_GetPointer(capsule.ptr(), exchange_name));
    while (found != nullptr && found->major_version != known_major_version) found = found->previous;
    if (found == nullptr || found->describe == nullptr) return;
    tensor_type = reinterpret_cast<PyTypeObject *>(tensor.inc_ref().ptr());
    exchange = found;
}

Description describe_tensor(nb::handle object, nb::dlpack::dtype dtype, int dimensions, void *&data,
                            const std::int64_t *&shape) noexcept {
    if (exchange == nullptr || Py_TYPE(object.ptr()) != tensor_type) return Description::unknown;
    nb::dlpack::dltensor tensor;
    if (exchange->describe(object.ptr(), &tensor) != 0) {
        PyErr_Clear();
        return Description::unknown;
    }
    if (tensor.device.device_type != nb::device::cpu::value || tensor.dtype != dtype || tensor.ndim != dimensions ||
        !is_contiguous(tensor))
        return Description::differs;
    data = static_cast<char *>(tensor.data) + tensor.byte_offset;
    shape = tensor.shape;
    return Description::fits;
}

}  // namespace gabp
