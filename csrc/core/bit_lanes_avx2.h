// What bit_lanes.h is made of: logic on vectors of bits, and the way between bits and bytes. Included inside an AVX2 region.
#pragma once

#include "bit_blocks.h"
#include "bit_logic.h"
#include "bit_masks_x86.h"

namespace bnnkit {
namespace {

constexpr int kLaneBytes = 32;
typedef uint64_t BitVector __attribute__((vector_size(kLaneBytes)));

// 32 bits as bytes of 0 or -1.
inline __m256i spread_bits(uint32_t word) {
    const __m256i byte_of = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,  //
                                             2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    const __m256i all = _mm256_set1_epi32(static_cast<int32_t>(word));
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(all, byte_of), bit_of), bit_of);
}

// bytes[i] = the number whose bit p is bit i of the word words[p * stride], for as many bytes as a word has bits.
inline void bytes_of_planes(const uint32_t* words, int64_t stride, int planes, uint8_t* bytes) {
    __m256i sum = _mm256_setzero_si256(), weight = _mm256_set1_epi8(1);
    for (int p = 0; p < planes; ++p, words += stride, weight = _mm256_add_epi8(weight, weight))
        sum = _mm256_or_si256(sum, _mm256_and_si256(spread_bits(*words), weight));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), sum);
}

inline void bytes_of_planes(const uint64_t* words, int64_t stride, int planes, uint8_t* bytes) {
    uint32_t low[8], high[8];
    for (int p = 0; p < planes; ++p) {
        low[p] = static_cast<uint32_t>(words[p * stride]);
        high[p] = static_cast<uint32_t>(words[p * stride] >> 32);
    }
    bytes_of_planes(low, 1, planes, bytes), bytes_of_planes(high, 1, planes, bytes + 32);
}

// The same for the words of a vector, one after another; of at most eight planes.
template <class Word>
inline void bytes_of_plane_vectors(const Word* words, int64_t stride, int planes, uint8_t* bytes) {
    BitVector eight[8];
#pragma GCC unroll 8
    for (int p = 0; p < 8; ++p)
        eight[p] = p < planes ? (BitVector)_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + p * stride))
                              : BitVector{};
    bytes_of_bits(eight, bytes);
}

// words[b] = the bits b of as many bytes as a word has bits.
inline void bits_of_bytes(const uint8_t* bytes, uint32_t (&words)[8]) {
    __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    for (int b = 7; b >= 0; --b, v = _mm256_add_epi8(v, v)) words[b] = static_cast<uint32_t>(_mm256_movemask_epi8(v));
}

inline void bits_of_bytes(const uint8_t* bytes, uint64_t (&words)[8]) {
    uint32_t low[8], high[8];
    bits_of_bytes(bytes, low), bits_of_bytes(bytes + 32, high);
    for (int b = 0; b < 8; ++b) words[b] = low[b] | static_cast<uint64_t>(high[b]) << 32;
}

}  // namespace
}  // namespace bnnkit
