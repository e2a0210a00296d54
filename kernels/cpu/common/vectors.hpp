// Vectors of N numbers, made of the widest vectors of the instruction set that is being compiled. (A single compiler
// vector wider than the registers would be kept in memory.) Internal linkage, as in message_rules.hpp.
#pragma once

#include <cstdint>
#include <cstring>

namespace gabp {
namespace {

#if defined(__AVX512F__)
constexpr int native_bytes = 64;
#elif defined(__AVX__)
constexpr int native_bytes = 32;
#else
constexpr int native_bytes = 16;
#endif

template <class T, int N>
struct Vector {
    static constexpr int native = native_bytes / static_cast<int>(sizeof(T));
    static constexpr int width = N < native ? N : native;
    static constexpr int parts = N / width;
    typedef T Part __attribute__((vector_size(width * sizeof(T))));

    Part part[parts];

    static Vector all(T value) {
        Vector v;
        for (int p = 0; p < parts; ++p) v.part[p] = Part{} + value;
        return v;
    }
    static Vector load(const T *from) {  // of any alignment
        Vector v;
        for (int p = 0; p < parts; ++p) std::memcpy(&v.part[p], from + p * width, sizeof(Part));
        return v;
    }
    template <class Index>
    static Vector gather(const T *from, const Index *at, std::int64_t stride) {
        Vector v;
        for (int p = 0; p < parts; ++p)
            for (int l = 0; l < width; ++l) v.part[p][l] = from[at[p * width + l] * stride];
        return v;
    }
    void store(T *to) const {
        for (int p = 0; p < parts; ++p) std::memcpy(to + p * width, &part[p], sizeof(Part));
    }
    T operator[](int l) const { return part[l / width][l % width]; }

    template <class Operation>
    static Vector map(const Vector &a, const Vector &b, const Operation &operation) {
        Vector v;
        for (int p = 0; p < parts; ++p) v.part[p] = operation(a.part[p], b.part[p]);
        return v;
    }
    friend Vector operator+(const Vector &a, const Vector &b) {
        return map(a, b, [](const Part &x, const Part &y) -> Part { return x + y; });
    }
    friend Vector operator-(const Vector &a, const Vector &b) {
        return map(a, b, [](const Part &x, const Part &y) -> Part { return x - y; });
    }
    friend Vector operator*(const Vector &a, const Vector &b) {
        return map(a, b, [](const Part &x, const Part &y) -> Part { return x * y; });
    }
    friend Vector operator/(const Vector &a, const Vector &b) {
        return map(a, b, [](const Part &x, const Part &y) -> Part { return x / y; });
    }
    friend Vector operator*(T a, const Vector &b) { return all(a) * b; }
    friend Vector operator-(const Vector &a) {
        return map(a, a, [](const Part &x, const Part &) -> Part { return -x; });
    }
    friend Vector magnitude(const Vector &a) {
        return map(a, a, [](const Part &x, const Part &) -> Part { return x < T(0) ? -x : x; });
    }
    // value, but 1 where a is zero
    friend Vector unless_zero(const Vector &a, const Vector &value) {
        return map(a, value, [](const Part &x, const Part &y) -> Part { return x == T(0) ? Part{} + T(1) : y; });
    }
    Vector &operator+=(const Vector &b) { return *this = *this + b; }
    Vector &operator-=(const Vector &b) { return *this = *this - b; }
};

template <class T>
inline T unless_zero(T a, T value) {
    return a == T(0) ? T(1) : value;
}

}  // namespace
}  // namespace gabp
