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

// bytes[i] = the number whose bit p is bit i of the word words[p * stride], for as many bytes as a word has bits.
inline void bytes_of_planes(const uint32_t* words, int64_t stride, int planes, uint8_t* bytes) {
    __m256i sum = _mm256_setzero_si256(), weight = _mm256_set1_epi8(1);
    for (int p = 0; p < planes; ++p, words += stride, weight = _mm256_add_epi8(weight, weight))
        sum = _mm256_mask_add_epi8(sum, *words, sum, weight);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), sum);
}

inline void bytes_of_planes(const uint64_t* words, int64_t stride, int planes, uint8_t* bytes) {
    __m512i sum = _mm512_setzero_si512(), weight = _mm512_set1_epi8(1);
    for (int p = 0; p < planes; ++p, words += stride, weight = _mm512_add_epi8(weight, weight))
        sum = _mm512_mask_add_epi8(sum, *words, sum, weight);
    _mm512_storeu_si512(bytes, sum);
}

// The same for the words of a vector, one after another; of at most eight planes.
template <class Word>
inline void bytes_of_plane_vectors(const Word* words, int64_t stride, int planes, uint8_t* bytes) {
    for (int64_t first = 0; first < kLaneBytes; first += sizeof(Word), ++words, bytes += 8 * sizeof(Word))
        bytes_of_planes(words, stride, planes, bytes);
}

// words[b] = the bits b of as many bytes as a word has bits.
inline void bits_of_bytes(const uint8_t* bytes, uint32_t (&words)[8]) {
    __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    for (int b = 7; b >= 0; --b, v = _mm256_add_epi8(v, v)) words[b] = _mm256_movepi8_mask(v);
}

inline void bits_of_bytes(const uint8_t* bytes, uint64_t (&words)[8]) {
    __m512i v = _mm512_loadu_si512(bytes);
    for (int b = 7; b >= 0; --b, v = _mm512_add_epi8(v, v)) words[b] = _mm512_movepi8_mask(v);
}

}  // namespace
}  // namespace bnnkit
