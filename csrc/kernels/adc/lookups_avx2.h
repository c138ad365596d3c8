// Included inside an AVX2 region.
//
// A register holds the eight sums to which the first float is added; the other eight are their negatives. Tables are made once
// for a few rows and all of their columns: made anew for every tile, they would cost more loads than the lookups.
#pragma once

#include "lookups.h"

namespace bnnkit {
namespace {

constexpr int64_t kColumns = 8;  // per code
using ColumnBits = uint8_t;

// Per column: bit k is whether term k + 1 has the sign of term 0, bit 31 whether that is minus, bit 30 that nothing is added.
struct Code {
    __m256i columns;
};

// Of columns in which the terms have the bits in `bits`.
inline Code code_of(const ColumnBits (&bits)[kTerms], ColumnBits valid) {
    const __m256i bit_of = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i code = _mm256_setzero_si256();
    const auto set = [&](int byte, int32_t flag) {
        const __m256i lanes = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(byte), bit_of), bit_of);
        code = _mm256_or_si256(code, _mm256_and_si256(lanes, _mm256_set1_epi32(flag)));
    };
    for (int k = 1; k < kTerms; ++k) set(~(bits[k] ^ bits[0]), 1 << (k - 1));
    set(~bits[0], INT32_MIN);
    set(~valid, 1 << 30);
    return {code};
}

// tables[group][row], of `rows` rows from `a` on.
template <int kRows>
void make_tables(const Lookups& p, const float* a, __m256* tables) {
    __m256 signs[kTerms];
    for (int k = 1; k < kTerms; ++k) {
        alignas(32) float sign[8];
        for (int entry = 0; entry < 8; ++entry) sign[entry] = (entry >> (k - 1)) & 1 ? 1.0f : -1.0f;
        signs[k] = _mm256_load_ps(sign);
    }
    for (int64_t group = 0; group < p.groups; ++group, tables += kRows)
        for (int i = 0; i < kRows; ++i) {
            const float* row = a + i * p.a_row;
            const int64_t* terms = p.terms + group * kTerms;
            __m256 table = _mm256_set1_ps(row[terms[0]]);
            for (int k = 1; k < kTerms; ++k) table = _mm256_fmadd_ps(signs[k], _mm256_set1_ps(row[terms[k]]), table);
            tables[i] = table;
        }
}

template <int kRows, int kVectors, bool kMasked>
inline __attribute__((always_inline)) void add_group(const Lookups& p, const __m256* tables, int64_t group,
                                                     int64_t vector, __m256 (&sum)[kRows][kVectors]) {
    const __m256i minus = _mm256_set1_epi32(INT32_MIN);
    __m256 table[kRows];
    for (int i = 0; i < kRows; ++i) table[i] = tables[group * kRows + i];
    const Code* codes = p.codes + group * p.planes * p.code_stride + vector;
    for (int plane = 0;; codes += p.code_stride) {
        for (int j = 0; j < kVectors; ++j) {
            const __m256i code = codes[j].columns;
            const __m256 sign = _mm256_castsi256_ps(_mm256_and_si256(code, minus));
            const __m256 nothing = _mm256_castsi256_ps(_mm256_srai_epi32(_mm256_add_epi32(code, code), 31));
            for (int i = 0; i < kRows; ++i) {
                __m256 found = _mm256_xor_ps(_mm256_permutevar8x32_ps(table[i], code), sign);
                if (kMasked) found = _mm256_andnot_ps(nothing, found);
                sum[i][j] = _mm256_add_ps(sum[i][j], found);
            }
        }
        if (++plane == p.planes) break;
        if (p.thermometer) continue;
        for (int i = 0; i < kRows; ++i) table[i] = _mm256_add_ps(table[i], table[i]);
    }
}

template <int kRows, int kVectors>
void look_up_tile(const Lookups& p, const __m256* tables, int64_t row, int64_t vector) {
    float* c = p.c + row * p.c_row + vector * kColumns;
    __m256 sum[kRows][kVectors];
    for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kVectors; ++j)
            sum[i][j] = p.accumulate ? _mm256_load_ps(c + i * p.c_row + j * kColumns) : _mm256_setzero_ps();
    int64_t group = 0;
    for (; group < p.whole; ++group) add_group<kRows, kVectors, false>(p, tables, group, vector, sum);
    for (; group < p.groups; ++group) add_group<kRows, kVectors, true>(p, tables, group, vector, sum);
    for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kVectors; ++j) _mm256_store_ps(c + i * p.c_row + j * kColumns, sum[i][j]);
}

template <int kRows>
void look_up_rows(const Lookups& p, int64_t row, __m256* tables) {
    make_tables<kRows>(p, p.a + row * p.a_row, tables);
    int64_t vector = 0;
    for (; vector + 2 <= p.vectors; vector += 2) look_up_tile<kRows, 2>(p, tables, row, vector);
    if (vector < p.vectors) look_up_tile<kRows, 1>(p, tables, row, vector);
}

inline void look_up(const Lookups& p) {
    constexpr int kRows = 4;
    const Scratch room(kRows * p.groups * static_cast<int64_t>(sizeof(__m256)));
    __m256* const tables = reinterpret_cast<__m256*>(room.data);
    int64_t row = 0;
    for (; row + kRows <= p.rows; row += kRows) look_up_rows<kRows>(p, row, tables);
    for (; row < p.rows; ++row) look_up_rows<1>(p, row, tables);
}

}  // namespace
}  // namespace bnnkit
