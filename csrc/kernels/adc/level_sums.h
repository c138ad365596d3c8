// How 32-bit partial sums are converted and their levels added up. Included inside an AVX-512 region with VBMI.
#pragma once

#include "sum_converter.h"

namespace bnnkit {
namespace {

using Method = SumConverter::Method;

// How one method turns partial sums into a contribution and keeps the sums of those, 64 values at a time: four vectors
// of neighbouring values. Narrow sums keep the order that the pack instructions give; `widen` undoes it.
template <Method kMethod>
struct Sums;

inline __m512i low_bytes(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi16(0xFF)); }

// 16-bit sums of 64 values, unsigned.
inline void widen16(__m512i low, __m512i high, __m512i* out) {
    const __m512i zero = _mm512_setzero_si512();
    out[0] = _mm512_unpacklo_epi16(low, zero), out[1] = _mm512_unpackhi_epi16(low, zero);
    out[2] = _mm512_unpacklo_epi16(high, zero), out[3] = _mm512_unpackhi_epi16(high, zero);
}

template <>
struct Sums<Method::single8> {
    static constexpr int kVectors = 1;
    __m512i threshold, one = _mm512_set1_epi8(1);

    explicit Sums(const SumConverter& c) : threshold(_mm512_set1_epi8(static_cast<char>(c.thresholds()[0]))) {}
    void add(const __m512i* ps, __m512i* sums) const {
        const __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(ps[0], ps[1]), _mm512_packs_epi32(ps[2], ps[3]));
        *sums = _mm512_mask_add_epi8(*sums, _mm512_cmpge_epi8_mask(bytes, threshold), *sums, one);
    }
    static void widen(const __m512i* sums, __m512i* out) {
        const __m512i zero = _mm512_setzero_si512();
        widen16(_mm512_unpacklo_epi8(*sums, zero), _mm512_unpackhi_epi8(*sums, zero), out);
    }
};

template <>
struct Sums<Method::single16> {
    static constexpr int kVectors = 2;
    __m512i threshold, one = _mm512_set1_epi16(1);

    explicit Sums(const SumConverter& c) : threshold(_mm512_set1_epi16(static_cast<short>(c.thresholds()[0]))) {}
    void add(const __m512i* ps, __m512i* sums) const {
        for (int i = 0; i < 2; ++i) {
            const __m512i words = _mm512_packs_epi32(ps[2 * i], ps[2 * i + 1]);
            sums[i] = _mm512_mask_add_epi16(sums[i], _mm512_cmpge_epi16_mask(words, threshold), sums[i], one);
        }
    }
    static void widen(const __m512i* sums, __m512i* out) { widen16(sums[0], sums[1], out); }
};

template <>
struct Sums<Method::round16> {
    static constexpr int kVectors = 2;
    __m512i shift, factor;

    explicit Sums(const SumConverter& c)
        : shift(_mm512_set1_epi16(c.shift16())), factor(_mm512_set1_epi16(c.factor16())) {}
    void add(const __m512i* ps, __m512i* sums) const {
        for (int i = 0; i < 2; ++i) {
            const __m512i words = _mm512_add_epi16(_mm512_packs_epi32(ps[2 * i], ps[2 * i + 1]), shift);
            sums[i] = _mm512_add_epi16(sums[i], _mm512_mulhrs_epi16(words, factor));
        }
    }
    static void widen(const __m512i* sums, __m512i* out) { widen16(sums[0], sums[1], out); }
};

template <>
struct Sums<Method::lookup16> {
    static constexpr int kVectors = 4;  // even and odd bytes of the first table, then of the second
    int tables;
    __m512i quarters[2][4];

    explicit Sums(const SumConverter& c) : tables(c.lookup_tables()) {
        for (int t = 0; t < tables; ++t)
            for (int i = 0; i < 4; ++i) quarters[t][i] = _mm512_loadu_si512(c.lookup_table(t) + 64 * i);
    }
    void add(const __m512i* ps, __m512i* sums) const {
        const __m512i reach = _mm512_set1_epi16(SumConverter::kLookupReach);
        const __m512i index = _mm512_packus_epi16(_mm512_add_epi16(_mm512_packs_epi32(ps[0], ps[1]), reach),
                                                  _mm512_add_epi16(_mm512_packs_epi32(ps[2], ps[3]), reach));
        const __mmask64 above = _mm512_movepi8_mask(index);
        for (int t = 0; t < tables; ++t) {
            const __m512i(&table)[4] = quarters[t];
            const __m512i bytes = _mm512_mask_mov_epi8(_mm512_permutex2var_epi8(table[0], index, table[1]), above,
                                                       _mm512_permutex2var_epi8(table[2], index, table[3]));
            sums[2 * t] = _mm512_add_epi16(sums[2 * t], low_bytes(bytes));
            sums[2 * t + 1] = _mm512_add_epi16(sums[2 * t + 1], _mm512_srli_epi16(bytes, 8));
        }
    }
    void widen(const __m512i* sums, __m512i* out) const {
        for (int t = 0; t < tables; ++t) {
            // Bytes 2i and 2i + 1 of the index stand beside each other in one 128-bit lane, as values of one vector.
            const __m512i even = sums[2 * t], odd = sums[2 * t + 1];
            __m512i wide[4];
            widen16(_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd), wide);
            for (int i = 0; i < 4; ++i)
                out[i] = t == 0 ? wide[i] : _mm512_add_epi32(out[i], _mm512_slli_epi32(wide[i], 8));
        }
    }
};

template <>
struct Sums<Method::round32> {
    static constexpr int kVectors = 4;
    __m512 factor, shift;

    explicit Sums(const SumConverter& c) : factor(_mm512_set1_ps(c.factor())), shift(_mm512_set1_ps(c.shift())) {}
    void add(const __m512i* ps, __m512i* sums) const {
        for (int i = 0; i < 4; ++i) {
            const __m512 code = _mm512_fmadd_ps(_mm512_cvtepi32_ps(ps[i]), factor, shift);
            sums[i] = _mm512_add_epi32(sums[i], _mm512_castps_si512(code));
        }
    }
    static void widen(const __m512i* sums, __m512i* out) {
        for (int i = 0; i < 4; ++i) out[i] = sums[i];
    }
};

template <>
struct Sums<Method::refine32> {
    static constexpr int kVectors = 4;
    __m512 factor, shift;
    __m512i next, levels;

    explicit Sums(const SumConverter& c)
        : factor(_mm512_set1_ps(c.factor())),
          shift(_mm512_set1_ps(c.shift())),
          next(_mm512_loadu_si512(c.next_thresholds())),
          levels(_mm512_loadu_si512(c.levels())) {}
    void add(const __m512i* ps, __m512i* sums) const {
        for (int i = 0; i < 4; ++i) {
            // Permutations look at the lowest four bits, where the biased float has the code.
            const __m512i code = _mm512_castps_si512(_mm512_fmadd_ps(_mm512_cvtepi32_ps(ps[i]), factor, shift));
            const __mmask16 above = _mm512_cmpge_epi32_mask(ps[i], _mm512_permutexvar_epi32(code, next));
            const __m512i exact = _mm512_mask_add_epi32(code, above, code, _mm512_set1_epi32(1));
            sums[i] = _mm512_add_epi32(sums[i], _mm512_permutexvar_epi32(exact, levels));
        }
    }
    static void widen(const __m512i* sums, __m512i* out) {
        for (int i = 0; i < 4; ++i) out[i] = sums[i];
    }
};

template <>
struct Sums<Method::compare32> {
    static constexpr int kVectors = 4;
    const SumConverter& converter;

    explicit Sums(const SumConverter& c) : converter(c) {}
    void add(const __m512i* ps, __m512i* sums) const {
        __m512i sum[4] = {sums[0], sums[1], sums[2], sums[3]};
        for (int t = 0; t < converter.threshold_count(); ++t) {
            const __m512i threshold = _mm512_set1_epi32(converter.thresholds()[t]);
            const __m512i rise = _mm512_set1_epi32(converter.rises()[t]);
            for (int i = 0; i < 4; ++i)
                sum[i] = _mm512_mask_add_epi32(sum[i], _mm512_cmpge_epi32_mask(ps[i], threshold), sum[i], rise);
        }
        for (int i = 0; i < 4; ++i) sums[i] = sum[i];
    }
    static void widen(const __m512i* sums, __m512i* out) {
        for (int i = 0; i < 4; ++i) out[i] = sums[i];
    }
};

}  // namespace
}  // namespace bnnkit
