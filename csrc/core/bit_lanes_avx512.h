// What bit_lanes.h is made of: logic on vectors of bits, and the way between bits and bytes. Included inside an AVX-512 region.
#pragma once

#include "bit_masks_x86.h"

namespace bnnkit {
namespace {

constexpr int kLaneBytes = 64;
typedef uint64_t BitVector __attribute__((vector_size(kLaneBytes)));

inline BitVector majority(BitVector a, BitVector b, BitVector c) {
    return (BitVector)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0xE8);
}

// sum + a + b becomes sum and, of twice the weight, the carry that is returned.
inline BitVector add_two(BitVector& sum, BitVector a, BitVector b) {
    const BitVector carry = majority(sum, a, b);
    sum = (BitVector)_mm512_ternarylogic_epi64((__m512i)sum, (__m512i)a, (__m512i)b, 0x96);
    return carry;
}

// Adds `weight` to byte i where bit i is set, for 64 bytes.
inline void add_to_bytes(uint64_t bits, uint8_t weight, uint8_t* bytes) {
    const __m512i sum = _mm512_loadu_si512(bytes);
    _mm512_storeu_si512(bytes, _mm512_mask_add_epi8(sum, bits, sum, _mm512_set1_epi8(static_cast<char>(weight))));
}

// words[b] = the bits b of 64 bytes.
inline void bits_of_bytes(const uint8_t* bytes, uint64_t (&words)[8]) {
    __m512i v = _mm512_loadu_si512(bytes);
    for (int b = 7; b >= 0; --b, v = _mm512_add_epi8(v, v)) words[b] = _mm512_movepi8_mask(v);
}

}  // namespace
}  // namespace bnnkit
