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
        for (int t = 0; t < converter.thresholds(); ++t) {
            const __m256i limit = _mm256_set1_epi64x(step.limits[t]), rise = _mm256_set1_epi64x(converter.rises()[t]);
            for (int j = 0; j < NV; ++j)
                sum[j] = _mm256_add_epi64(sum[j], _mm256_andnot_si256(_mm256_cmpgt_epi64(counts[j], limit), rise));
        }
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
