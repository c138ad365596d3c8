// How AVX2 converts the counts of one array. Included inside an AVX2 region after lanes_avx2.h.
#pragma once

#include "count_converter.h"

namespace bnnkit {
namespace {

constexpr int kShift = 32;  // vpmuludq multiplies 32 x 32 bits; the upper half is the floor
constexpr bool kHasLookup = false;

template <CountConverter::Method kMethod, bool kParts128>
struct Converting {  // compare; lookup is never chosen for this instruction set
    template <int NV>
    static void accumulate(const CountConverter& converter, const Steps& step, const __m256i (&counts)[NV],
                           __m256i (&sum)[NV]) {
        if (converter.in_shorts()) return accumulate_shorts(converter, step, counts, sum);
        for (int t = 0; t < converter.thresholds(); ++t) {
            const __m256i limit = _mm256_set1_epi64x(step.limits[t]), rise = _mm256_set1_epi64x(converter.rises()[t]);
            for (int j = 0; j < NV; ++j)
                sum[j] = _mm256_add_epi64(sum[j], _mm256_andnot_si256(_mm256_cmpgt_epi64(counts[j], limit), rise));
        }
    }

private:
    // Up to four vectors of counts are compared as one.
    template <int NV>
    static void accumulate_shorts(const CountConverter& converter, const Steps& step, const __m256i (&counts)[NV],
                                  __m256i (&sum)[NV]) {
        static_assert(NV <= 4);
        __m256i all = counts[0], risen = _mm256_setzero_si256();
        for (int j = 1; j < NV; ++j) all = _mm256_or_si256(all, _mm256_slli_epi64(counts[j], 16 * j));
        for (int t = 0; t < converter.thresholds(); ++t) {
            const __m256i limit = Lanes::broadcast(step.short_limits[t]),
                          rise = Lanes::broadcast(converter.short_rises()[t]);
            risen = _mm256_add_epi16(risen, _mm256_andnot_si256(_mm256_cmpgt_epi16(all, limit), rise));
        }
        const __m256i low = Lanes::broadcast(0xFFFF);
        for (int j = 0; j < NV; ++j)
            sum[j] = _mm256_add_epi64(sum[j], _mm256_and_si256(_mm256_srli_epi64(risen, 16 * j), low));
    }
};

template <bool kParts128>
struct Converting<CountConverter::Method::multiply, kParts128> {
    template <int NV>
    static void accumulate(const CountConverter&, const Steps& step, const __m256i (&counts)[NV], __m256i (&sum)[NV]) {
        const __m256i factor = Lanes::broadcast(step.factor);
        for (int j = 0; j < NV; ++j)
            sum[j] = _mm256_add_epi64(sum[j], _mm256_srli_epi64(_mm256_mul_epu32(counts[j], factor), kShift));
    }
};

}  // namespace
}  // namespace bnnkit
