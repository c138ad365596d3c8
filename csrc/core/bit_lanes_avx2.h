// What bit_lanes.h is made of: logic on vectors of bits, and the way between bits and bytes. Included inside an AVX2 region.
#pragma once

#include "bit_masks_x86.h"

namespace bnnkit {
namespace {

constexpr int kLaneBytes = 32;
typedef uint64_t BitVector __attribute__((vector_size(kLaneBytes)));

}  // namespace
}  // namespace bnnkit

#include "bit_logic.h"

namespace bnnkit {
namespace {

// Adds `weight` to byte i where bit i is set, for 64 bytes.
inline void add_to_bytes(uint64_t bits, uint8_t weight, uint8_t* bytes) {
    const __m256i byte_of = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,  //
                                             2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    for (int half = 0; half < 2; ++half) {
        const __m256i word = _mm256_set1_epi32(static_cast<int32_t>(bits >> (32 * half)));
        const __m256i own = _mm256_and_si256(_mm256_shuffle_epi8(word, byte_of), bit_of);
        const __m256i added =
            _mm256_and_si256(_mm256_cmpeq_epi8(own, bit_of), _mm256_set1_epi8(static_cast<char>(weight)));
        __m256i* const at = reinterpret_cast<__m256i*>(bytes + 32 * half);
        _mm256_storeu_si256(at, _mm256_add_epi8(_mm256_loadu_si256(at), added));
    }
}

// words[b] = the bits b of 64 bytes.
inline void bits_of_bytes(const uint8_t* bytes, uint64_t (&words)[8]) {
    __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)),
            high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 32));
    for (int b = 7; b >= 0; --b) {
        words[b] = static_cast<uint32_t>(_mm256_movemask_epi8(low)) |
                   static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(high))) << 32;
        low = _mm256_add_epi8(low, low), high = _mm256_add_epi8(high, high);
    }
}

}  // namespace
}  // namespace bnnkit
