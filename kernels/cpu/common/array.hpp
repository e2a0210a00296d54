// Large arrays that sweeps and factors stream through.
#pragma once

#include <cstdint>
#include <memory>

namespace gabp {

// Uninitialised memory, in huge pages where the system has them.
void *allocate_pages(std::int64_t bytes);
void release_pages(void *data);

// An uninitialised array.
template <class T>
class Array {
public:
    Array() = default;
    explicit Array(std::int64_t size)
        : data_(static_cast<T *>(allocate_pages(size * static_cast<std::int64_t>(sizeof(T))))), size_(size) {}
    T *data() { return data_.get(); }
    const T *data() const { return data_.get(); }
    T &operator[](std::int64_t i) { return data_.get()[i]; }
    const T &operator[](std::int64_t i) const { return data_.get()[i]; }
    std::int64_t size() const { return size_; }
    std::int64_t bytes() const { return size_ * static_cast<std::int64_t>(sizeof(T)); }

private:
    struct Release {
        void operator()(T *data) const { release_pages(data); }
    };
    std::unique_ptr<T, Release> data_;
    std::int64_t size_ = 0;
};

}  // namespace gabp
