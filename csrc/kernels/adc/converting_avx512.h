// How AVX-512 converts the counts of one array. Included inside an AVX-512 region after lanes_avx512.h.
#pragma once

#include "count_converter.h"

namespace bnnkit {
namespace {

constexpr int kShift = 52;  // vpmadd52huq adds the bits above 2^52 of a 52 x 52 bit product
constexpr bool kHasLookup = true;

template <CountConverter::Method kMethod, bool kParts128>
struct Converting;

template <bool kParts128>
struct Converting<CountConverter::Method::multiply, kParts128> {
    template <int NV>
    static void accumulate(const CountConverter&, const Steps& step, const __m512i (&counts)[NV], __m512i (&sum)[NV]) {
        const __m512i factor = Lanes::broadcast(step.factor);
        for (int j = 0; j < NV; ++j) sum[j] = _mm512_madd52hi_epu64(sum[j], counts[j], factor);
    }
};

template <bool kParts128>
struct Converting<CountConverter::Method::lookup, kParts128> {
    // The mismatches of two words at `w` and `start`, as bytes that stop at 127: bits of one row never differ in more than 128.
    static __m512i count_two(__m512i start, __m512i a, __m512i b, const uint64_t* w, int64_t word) {
        const __m512i first = Lanes::add(start, Lanes::differing(a, Lanes::load(w)));
        return _mm512_adds_epi8(first, Lanes::differing(b, Lanes::load(w + word)));
    }

    template <int NV>
    static void accumulate(const CountConverter& converter, const Steps& step, const __m512i (&counts)[NV],
                           __m512i (&sum)[NV]) {
        const __m512i codes_low = _mm512_loadu_si512(step.codes), codes_high = _mm512_loadu_si512(step.codes + 64);
        const __m512i levels_low = _mm512_loadu_si512(converter.levels());
        const __m512i levels_high = _mm512_loadu_si512(converter.levels() + 8);
        for (int j = 0; j < NV; ++j) {
            // The lowest four bits of each lane are the code, all that the second table looks at.
            __m512i code = _mm512_permutex2var_epi8(codes_low, counts[j], codes_high);
            if constexpr (kParts128)  // count 128 wraps to 0 in the seven-bit index
                code = _mm512_mask_mov_epi64(code, _mm512_cmpeq_epi64_mask(counts[j], _mm512_set1_epi64(128)),
                                             _mm512_set1_epi64(step.code_of_128));
            sum[j] = _mm512_add_epi64(sum[j], _mm512_permutex2var_epi64(levels_low, code, levels_high));
        }
    }
};

template <bool kParts128>
struct Converting<CountConverter::Method::compare, kParts128> {
    template <int NV>
    static void accumulate(const CountConverter& converter, const Steps& step, const __m512i (&counts)[NV],
                           __m512i (&sum)[NV]) {
        for (int t = 0; t < converter.thresholds(); ++t) {
            const __m512i limit = _mm512_set1_epi64(step.limits[t]), rise = _mm512_set1_epi64(converter.rises()[t]);
            for (int j = 0; j < NV; ++j)
                sum[j] = _mm512_mask_add_epi64(sum[j], _mm512_cmple_epi64_mask(counts[j], limit), sum[j], rise);
        }
    }
};

}  // namespace
}  // namespace bnnkit
