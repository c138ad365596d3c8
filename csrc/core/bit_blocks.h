// Blocks of bits and bytes with rows and columns exchanged, by logic and shuffles that every instruction set has. Included inside
// an instruction-set region.
#pragma once

namespace bnnkit {
namespace {

// Bit k of byte j of v[i] and bit i of byte j of v[k] change places.
template <class Bits>
inline void transpose_bits(Bits (&v)[8]) {
    const auto exchange = [](Bits& low, Bits& high, int shift, uint64_t mask) {
        const Bits differ = ((low >> shift) ^ high) & (Bits{} + mask);
        high ^= differ, low ^= differ << shift;
    };
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) exchange(v[i], v[i + 4], 4, 0x0F0F0F0F0F0F0F0F);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) exchange(v[i / 2 * 4 + i % 2], v[i / 2 * 4 + i % 2 + 2], 2, 0x3333333333333333);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) exchange(v[2 * i], v[2 * i + 1], 1, 0x5555555555555555);
}

typedef uint8_t Bytes16 __attribute__((vector_size(16)));

inline Bytes16 low_bytes(Bytes16 a, Bytes16 b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Bytes16 high_bytes(Bytes16 a, Bytes16 b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// rows[0][0], rows[1][0] ... rows[kRows - 1][0], rows[0][1] ...; kRows is a power of two.
template <int kRows>
inline void interleave_bytes(Bytes16 (&rows)[kRows]) {
#pragma GCC unroll 4
    for (int step = 1; step < kRows; step *= 2) {
        Bytes16 next[kRows];
#pragma GCC unroll 8
        for (int i = 0; i < kRows / 2; ++i) {
            next[2 * i] = low_bytes(rows[i], rows[i + kRows / 2]);
            next[2 * i + 1] = high_bytes(rows[i], rows[i + kRows / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) rows[i] = next[i];
    }
}

// bytes[i] = the number whose bit p is bit i of planes[p], of eight planes.
template <class Bits>
inline void bytes_of_bits(const Bits* planes, uint8_t* bytes) {
    constexpr int kParts = sizeof(Bits) / sizeof(Bytes16);
    Bits numbers[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) numbers[i] = planes[i];
    transpose_bits(numbers);  // byte j of numbers[i] is that of bit 8 * j + i
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
        Bytes16 rows[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i)
            memcpy(&rows[i], reinterpret_cast<const Bytes16*>(&numbers[i]) + part, sizeof rows[i]);
        interleave_bytes(rows);
        memcpy(bytes + part * sizeof rows, rows, sizeof rows);
    }
}

}  // namespace
}  // namespace bnnkit
