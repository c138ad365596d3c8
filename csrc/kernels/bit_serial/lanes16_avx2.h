// 16 lanes of 16 bits. Included inside an AVX2 region.
#pragma once

namespace bnnkit {
namespace {
constexpr int kLaneOutputs = 16;
}  // namespace
}  // namespace bnnkit

#include "lanes16_table.h"

namespace bnnkit {
namespace {

constexpr int kPixels = 1, kInputs = 4;  // partial sums that the registers hold at once: pixels x input bits

inline Shorts population(Shorts v) {
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1,
                                            2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15), bits = (__m256i)v;
    const __m256i low = _mm256_shuffle_epi8(counts, _mm256_and_si256(bits, nibble));
    const __m256i high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(bits, 4), nibble));
    return (Shorts)_mm256_maddubs_epi16(_mm256_add_epi8(low, high), _mm256_set1_epi8(1));
}

}  // namespace
}  // namespace bnnkit
