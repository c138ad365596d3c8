// What eight partial sums of 32 bits add to sums of levels, by the methods of SumConverter but lookups. Included inside an AVX2
// region with FMA.
#pragma once

#include "sum_converter.h"

namespace bnnkit {
namespace {

using SumMethod = SumConverter::Method;

template <SumMethod kMethod>
struct LevelSums;

template <>
struct LevelSums<SumMethod::single16> {
    __m256i below;

    explicit LevelSums(const SumConverter& c) : below(_mm256_set1_epi32(c.thresholds()[0] - 1)) {}
    __m256i of(__m256i ps) const { return _mm256_srli_epi32(_mm256_cmpgt_epi32(ps, below), 31); }
};

// Sums and factor fit 16 bits; the instruction multiplies the low halves, for the factor's upper half is 0.
template <>
struct LevelSums<SumMethod::round16> {
    __m256i shift, factor, half = _mm256_set1_epi32(1 << 14);

    explicit LevelSums(const SumConverter& c)
        : shift(_mm256_set1_epi32(c.shift16())), factor(_mm256_set1_epi32(c.factor16())) {}
    __m256i of(__m256i ps) const {
        return _mm256_srai_epi32(_mm256_add_epi32(_mm256_madd_epi16(_mm256_add_epi32(ps, shift), factor), half), 15);
    }
};

template <>
struct LevelSums<SumMethod::round32> {
    __m256 factor, shift;

    explicit LevelSums(const SumConverter& c) : factor(_mm256_set1_ps(c.factor())), shift(_mm256_set1_ps(c.shift())) {}
    __m256i of(__m256i ps) const { return _mm256_castps_si256(_mm256_fmadd_ps(_mm256_cvtepi32_ps(ps), factor, shift)); }
};

template <>
struct LevelSums<SumMethod::refine32> {
    __m256 factor, shift;
    __m256i next[2], levels[2];

    explicit LevelSums(const SumConverter& c) : factor(_mm256_set1_ps(c.factor())), shift(_mm256_set1_ps(c.shift())) {
        for (int i = 0; i < 2; ++i) {
            next[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c.next_thresholds()) + i);
            levels[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c.levels()) + i);
        }
    }
    __m256i of(__m256i ps) const {
        // The lowest four bits of the biased float are the code or one below it; permutations look at no more.
        const __m256i code = _mm256_castps_si256(_mm256_fmadd_ps(_mm256_cvtepi32_ps(ps), factor, shift));
        const __m256i below = _mm256_cmpgt_epi32(entry(next, code), ps);
        return entry(levels, _mm256_add_epi32(code, _mm256_add_epi32(below, _mm256_set1_epi32(1))));
    }

private:
    static __m256i entry(const __m256i (&table)[2], __m256i code) {
        const __m256 low = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(table[0], code));
        const __m256 high = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(table[1], code));
        return _mm256_castps_si256(_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(code, 28))));
    }
};

template <>
struct LevelSums<SumMethod::compare32> {
    const SumConverter& converter;

    explicit LevelSums(const SumConverter& c) : converter(c) {}
    __m256i of(__m256i ps) const {
        __m256i sum = _mm256_setzero_si256();
        for (int t = 0; t < converter.threshold_count(); ++t) {
            const __m256i threshold = _mm256_set1_epi32(converter.thresholds()[t]);
            const __m256i rise = _mm256_set1_epi32(converter.rises()[t]);
            sum = _mm256_add_epi32(sum, _mm256_andnot_si256(_mm256_cmpgt_epi32(threshold, ps), rise));
        }
        return sum;
    }
};

}  // namespace
}  // namespace bnnkit
