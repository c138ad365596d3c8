// Vectors of bits that are added side by side: plane p of a vector of numbers is a vector of their bits p ("vertical counters",
// as in bit-sliced ciphers). Included inside an instruction-set region after lanes_*.h.
#pragma once

namespace bnnkit {
namespace {

// Anywhere in memory. (Compilers copy a vector that lies in memory in halves, and whoever then loads it whole has to wait.)
typedef uint64_t BitVectorInMemory __attribute__((vector_size(kLaneBytes), aligned(1), may_alias));

inline BitVector bits_at(const void* p) { return *static_cast<const BitVectorInMemory*>(p); }

inline void store_bits(void* p, BitVector v) { *static_cast<BitVectorInMemory*>(p) = v; }

// Adds a bit of the weight of planes[0].
inline __attribute__((always_inline)) void add_bit(BitVector* planes, int count, BitVector bit) {
#pragma GCC unroll 8
    for (int p = 0; p < count; ++p) {
        const BitVector sum = planes[p] ^ bit;
        bit &= planes[p];
        planes[p] = sum;
    }
}

constexpr int kLeastPlanes = 5;
constexpr int64_t kBitsAtATime = 8;

// The next eight bits `base[at[0]...]` to `base[at[7]...]` (offsets in words), added to the three lowest planes; returns what is
// carried into the fourth.
template <class Word>
inline __attribute__((always_inline)) BitVector add_eight(const Word* base, const int32_t* at, BitVector& ones,
                                                          BitVector& twos, BitVector& fours) {
    const auto bit = [&](int j) { return bits_at(base + at[j]); };
    BitVector a = add_two(ones, bit(0), bit(1)), b = add_two(ones, bit(2), bit(3));
    const BitVector four = add_two(twos, a, b);
    a = add_two(ones, bit(4), bit(5)), b = add_two(ones, bit(6), bit(7));
    return add_two(fours, four, add_two(twos, a, b));
}

// Adds the bits `base[offsets[i]...]` (offsets in words), a multiple of kBitsAtATime of them, to numbers of `plane_count` planes, wide
// enough for the sum, and at least kLeastPlanes.
template <class Word>
inline void add_bits(const Word* base, const int32_t* offsets, int64_t count, BitVector* planes, int plane_count) {
    BitVector ones = planes[0], twos = planes[1], fours = planes[2], eights = planes[3], sixteens = planes[4];
    const auto next_eight = [&](const int32_t* at)
                                __attribute__((always_inline)) { return add_eight(base, at, ones, twos, fours); };
    const auto add_sixteen = [&](const int32_t* at) __attribute__((always_inline)) {
        const BitVector low = next_eight(at), high = next_eight(at + 8);
        return add_two(eights, low, high);
    };
    const int upper = plane_count - kLeastPlanes;
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const BitVector low = add_sixteen(offsets + i), high = add_sixteen(offsets + i + 16);
        add_bit(planes + kLeastPlanes, upper, add_two(sixteens, low, high));
    }
    if (i < count) {
        BitVector sixteen{};
        if (i + 16 <= count) sixteen = add_sixteen(offsets + i), i += 16;
        BitVector other{};
        if (i < count) {
            const BitVector eight = next_eight(offsets + i);
            other = eights & eight;
            eights ^= eight;
        }
        add_bit(planes + kLeastPlanes, upper, add_two(sixteens, sixteen, other));
    }
    planes[0] = ones, planes[1] = twos, planes[2] = fours, planes[3] = eights, planes[4] = sixteens;
}

constexpr int kByteDigits = 8;

// Adds the bits of a short list, from `at` to `end`, a multiple of kBitsAtATime, modulo 256. (add_bits is for long ones: its sums come
// from memory and go back there, where these can stay in registers from list to list.)
template <class Word>
inline __attribute__((always_inline)) void add_few_bits(const Word* base, const int32_t* at, const int32_t* end,
                                                        BitVector (&digits)[kByteDigits]) {
    const auto next_eight = [&]() __attribute__((always_inline)) {
        const BitVector eight = add_eight(base, at, digits[0], digits[1], digits[2]);
        at += kBitsAtATime;
        return eight;
    };
    while (end - at >= 2 * kBitsAtATime) {
        const BitVector low = next_eight(), high = next_eight();
        add_bit(digits + 4, kByteDigits - 4, add_two(digits[3], low, high));
    }
    if (at != end) add_bit(digits + 3, kByteDigits - 3, next_eight());
}

// Two numbers that begin as `digits` and have a share of what is added in common: add(share, digits) adds what belongs to both (0), to
// the first alone (1), to the second alone (2), and finish(which, digits) receives each number.
template <int kDigits, class Add, class Finish>
inline __attribute__((always_inline)) void add_as_pair(BitVector (&digits)[kDigits], bool second, const Add& add,
                                                       const Finish& finish) {
    BitVector shared[kDigits];
    add(0, digits);
#pragma GCC unroll 16
    for (int p = 0; p < kDigits; ++p) shared[p] = digits[p];
    add(1, digits);
    finish(0, digits);
    if (!second) return;
#pragma GCC unroll 16
    for (int p = 0; p < kDigits; ++p) digits[p] = shared[p];
    add(2, digits);
    finish(1, digits);
}

}  // namespace
}  // namespace bnnkit
