// 32 lanes of 16 bits as two halves. Included inside an AVX2 region.
#pragma once

#include "lanes16_table.h"

namespace bnnkit {
namespace {

constexpr int kPixels = 1, kInputs = 4;  // partial sums that the registers hold at once: pixels x input bits

inline __m256i population16(__m256i v) {
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1,
                                            2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i low = _mm256_shuffle_epi8(counts, _mm256_and_si256(v, nibble));
    const __m256i high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
    return _mm256_maddubs_epi16(_mm256_add_epi8(low, high), _mm256_set1_epi8(1));
}

inline Shorts population(Shorts v) {
    __m256i halves[2];
    memcpy(halves, &v, sizeof v);
    halves[0] = population16(halves[0]);
    halves[1] = population16(halves[1]);
    memcpy(&v, halves, sizeof v);
    return v;
}

}  // namespace
}  // namespace bnnkit
