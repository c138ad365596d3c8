// Included inside an AVX-512 region.
#pragma once

#include "lookups.h"

namespace bnnkit {
namespace {

constexpr int64_t kColumns = 16;  // per code
using ColumnBits = uint16_t;

// Per column: bit k is the sign of term k, bit 31 says that nothing is added; the others are not read.
struct Code {
    __m512i columns;
};

// Of columns in which the terms have the bits in `bits`.
inline Code code_of(const ColumnBits (&bits)[kTerms], ColumnBits valid) {
    __m512i code = _mm512_maskz_set1_epi32(_knot_mask16(valid), INT32_MIN);
    for (int64_t k = 0; k < kTerms; ++k) code = _mm512_mask_or_epi32(code, bits[k], code, _mm512_set1_epi32(1 << k));
    return {code};
}

inline void write_codes(const uint64_t* bits, const uint64_t* valid, int64_t words, int64_t vectors, Code* codes) {
    for (int64_t vector = 0; vector < vectors; ++vector) {
        const int64_t word = vector * kColumns / kWordBits, shift = vector * kColumns % kWordBits;
        ColumnBits of_terms[kTerms];
        for (int64_t k = 0; k < kTerms; ++k) of_terms[k] = static_cast<ColumnBits>(bits[k * words + word] >> shift);
        codes[vector] = code_of(of_terms, static_cast<ColumnBits>(valid ? valid[word] >> shift : ~uint64_t{0}));
    }
}

struct Signs {  // of the four terms, by entry of the table
    __m512 of[kTerms];
    Signs() {
        for (int k = 0; k < kTerms; ++k) {
            alignas(64) float sign[16];
            for (int entry = 0; entry < 16; ++entry) sign[entry] = (entry >> k) & 1 ? 1.0f : -1.0f;
            of[k] = _mm512_load_ps(sign);
        }
    }
};

template <int kRows, int kVectors, bool kMasked>
inline __attribute__((always_inline)) void add_group(const Lookups& p, const Signs& signs, const float* a,
                                                     int64_t group, int64_t vector, __m512 (&sum)[kRows][kVectors]) {
    const int64_t* terms = p.terms + group * kTerms;
    __m512 table[kRows];
    for (int i = 0; i < kRows; ++i) {
        const float* row = a + i * p.a_row;
        table[i] = _mm512_mul_ps(signs.of[0], _mm512_set1_ps(row[terms[0]]));
        for (int k = 1; k < kTerms; ++k)
            table[i] = _mm512_fmadd_ps(signs.of[k], _mm512_set1_ps(row[terms[k]]), table[i]);
    }
    const Code* codes = p.codes + group * p.planes * p.code_stride + vector;
    for (int plane = 0;; codes += p.code_stride) {
        for (int j = 0; j < kVectors; ++j) {
            const __m512i code = codes[j].columns;
            const __mmask16 valid = kMasked ? _knot_mask16(_mm512_movepi32_mask(code)) : 0xFFFF;
            for (int i = 0; i < kRows; ++i) {
                const __m512 found = kMasked ? _mm512_maskz_permutexvar_ps(valid, code, table[i])
                                             : _mm512_permutexvar_ps(code, table[i]);
                sum[i][j] = _mm512_add_ps(sum[i][j], found);
            }
        }
        if (++plane == p.planes) break;
        if (p.thermometer) continue;
        for (int i = 0; i < kRows; ++i) table[i] = _mm512_add_ps(table[i], table[i]);
    }
}

template <int kRows, int kVectors>
void look_up_tile(const Lookups& p, const Signs& signs, int64_t row, int64_t vector) {
    float* c = p.c + row * p.c_row + vector * kColumns;
    __m512 sum[kRows][kVectors];
    for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kVectors; ++j)
            sum[i][j] = p.accumulate ? _mm512_load_ps(c + i * p.c_row + j * kColumns) : _mm512_setzero_ps();
    const float* a = p.a + row * p.a_row;
    int64_t group = 0;
    for (; group < p.whole; ++group) add_group<kRows, kVectors, false>(p, signs, a, group, vector, sum);
    for (; group < p.groups; ++group) add_group<kRows, kVectors, true>(p, signs, a, group, vector, sum);
    for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kVectors; ++j) _mm512_store_ps(c + i * p.c_row + j * kColumns, sum[i][j]);
}

template <int kVectors>
void look_up_vectors(const Lookups& p, const Signs& signs, int64_t vector) {
    int64_t row = 0;
    for (; row + 2 <= p.rows; row += 2) look_up_tile<2, kVectors>(p, signs, row, vector);
    if (row < p.rows) look_up_tile<1, kVectors>(p, signs, row, vector);
}

inline void look_up(const Lookups& p) {
    const Signs signs;
    int64_t vector = 0;
    for (; vector + 8 <= p.vectors; vector += 8) look_up_vectors<8>(p, signs, vector);
    switch (p.vectors - vector) {
        case 7: return look_up_vectors<7>(p, signs, vector);
        case 6: return look_up_vectors<6>(p, signs, vector);
        case 5: return look_up_vectors<5>(p, signs, vector);
        case 4: return look_up_vectors<4>(p, signs, vector);
        case 3: return look_up_vectors<3>(p, signs, vector);
        case 2: return look_up_vectors<2>(p, signs, vector);
        case 1: return look_up_vectors<1>(p, signs, vector);
        default: return;
    }
}

}  // namespace
}  // namespace bnnkit
