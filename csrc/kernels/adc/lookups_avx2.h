// Included inside an AVX2 region.
//
// The lanes are eight rows of `a`. Their sums of four floats with all signs are vectors in memory, made once for all columns, so
// that a lookup is an addition from where a column's code says. (Sums in a register, from which a permutation picks those of eight
// columns, are three operations for as many products, and half as fast.)
#pragma once

#include "lookups.h"

namespace bnnkit {
namespace {

constexpr int64_t kColumns = 8;  // per code
constexpr int64_t kRowLanes = 8;

struct Table {
    float sums[(1 << kTerms) + 1][kRowLanes];  // by the terms that are added and not subtracted; then zeros
};

// Where a table has the sums of each column, in floats.
struct Code {
    uint8_t columns[kColumns];
};

constexpr int64_t kNothing = int64_t{sizeof(Table) / sizeof(float)} - kRowLanes;  // where the zeros are
static_assert(kNothing <= UINT8_MAX);

// More tables would push one another out of the first cache.
constexpr int64_t kTables = 40;

inline void write_codes(const uint64_t* bits, const uint64_t* valid, int64_t words, int64_t vectors, Code* codes) {
    constexpr int64_t kAtATime = 4;
    for (int64_t vector = 0; vector < vectors; vector += kAtATime) {
        const int64_t word = vector * kColumns / kWordBits, shift = vector * kColumns % kWordBits;
        uint32_t of_terms[kTerms];
        for (int64_t k = 0; k < kTerms; ++k) of_terms[k] = static_cast<uint32_t>(bits[k * words + word] >> shift);
        alignas(32) uint8_t entries[kAtATime * kColumns];
        bytes_of_planes(of_terms, 1, kTerms, entries);
        // Times kRowLanes: at most 120, so no byte runs into the next.
        __m256i code = _mm256_slli_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(entries)), 3);
        if (valid)
            code = _mm256_blendv_epi8(_mm256_set1_epi8(static_cast<char>(kNothing)), code,
                                      spread_bits(static_cast<uint32_t>(valid[word] >> shift)));
        if (vectors - vector >= kAtATime) {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + vector), code);
        } else {
            _mm256_store_si256(reinterpret_cast<__m256i*>(entries), code);
            memcpy(codes + vector, entries, static_cast<size_t>((vectors - vector) * kColumns));
        }
    }
}

inline void make_table(const __m256 (&terms)[kTerms], Table& table) {
    const __m256 minus = _mm256_set1_ps(-0.0f);
    const auto pair = [&](int first, __m256(&sums)[4]) __attribute__((always_inline)) {
        sums[3] = _mm256_add_ps(terms[first], terms[first + 1]);
        sums[1] = _mm256_sub_ps(terms[first], terms[first + 1]);
        sums[0] = _mm256_xor_ps(sums[3], minus);
        sums[2] = _mm256_xor_ps(sums[1], minus);
    };
    __m256 low[4], high[4];
    pair(0, low), pair(2, high);
    for (int entry = 0; entry < 16; ++entry)
        _mm256_store_ps(table.sums[entry], _mm256_add_ps(low[entry % 4], high[entry / 4]));
    _mm256_store_ps(table.sums[16], _mm256_setzero_ps());
}

// Four floats of eight rows, of which each lane is one.
inline void terms_of_rows(const float* const (&rows)[kRowLanes], int64_t first, __m256 (&terms)[kTerms]) {
    __m256 halves[4];
    for (int i = 0; i < 4; ++i)
        halves[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows[i] + first)),
                                         _mm_loadu_ps(rows[i + 4] + first), 1);
    const __m256 a = _mm256_unpacklo_ps(halves[0], halves[1]), b = _mm256_unpackhi_ps(halves[0], halves[1]);
    const __m256 c = _mm256_unpacklo_ps(halves[2], halves[3]), d = _mm256_unpackhi_ps(halves[2], halves[3]);
    terms[0] = _mm256_shuffle_ps(a, c, 0x44), terms[1] = _mm256_shuffle_ps(a, c, 0xEE);
    terms[2] = _mm256_shuffle_ps(b, d, 0x44), terms[3] = _mm256_shuffle_ps(b, d, 0xEE);
}

// Of eight rows, or as many as there are; the other lanes repeat the last one.
inline void make_tables(const Lookups& p, int64_t row, int64_t first_group, int64_t groups, Table* tables) {
    const float* rows[kRowLanes];
    for (int64_t i = 0; i < kRowLanes; ++i) rows[i] = p.a + (row + i < p.rows ? row + i : p.rows - 1) * p.a_row;
    for (int64_t group = 0; group < groups; ++group) {
        const int64_t* at = p.terms + (first_group + group) * kTerms;
        __m256 terms[kTerms];
        if (p.a_row == 1)
            for (int64_t k = 0; k < kTerms; ++k) terms[k] = _mm256_loadu_ps(rows[0] + at[k]);
        else
            terms_of_rows(rows, at[0], terms);
        make_table(terms, tables[group]);
    }
}

// Inlined, or its sums would not stay in registers.
inline __attribute__((always_inline)) void look_up_vector(const Lookups& p, const Table* tables, int64_t row,
                                                          int64_t first_group, int64_t groups, int64_t vector,
                                                          bool accumulate) {
    __m256 sums[kColumns];
    for (__m256& sum : sums) sum = _mm256_setzero_ps();
    const int64_t stride = p.planes * p.code_stride;
    for (int plane = p.planes - 1; plane >= 0; --plane) {
        if (!p.thermometer && plane != p.planes - 1)
            for (__m256& sum : sums) sum = _mm256_add_ps(sum, sum);
        const Code* code = p.codes + first_group * stride + plane * p.code_stride + vector;
        for (int64_t group = 0; group < groups; ++group, code += stride) {
            const float* const table = tables[group].sums[0];
            uint64_t columns;
            memcpy(&columns, code, sizeof columns);
#pragma GCC unroll 8
            for (int j = 0; j < kColumns; ++j)
                sums[j] = _mm256_add_ps(sums[j], _mm256_load_ps(table + static_cast<uint8_t>(columns >> (8 * j))));
        }
    }
    __m256i of_rows[kRowLanes];
    for (int j = 0; j < kColumns; ++j) of_rows[j] = _mm256_castps_si256(sums[j]);
    transpose8(of_rows);
    float* c = p.c + row * p.c_row + vector * kColumns;
    const auto finish = [&](int i) __attribute__((always_inline)) {
        const __m256 sum = _mm256_castsi256_ps(of_rows[i]);
        _mm256_store_ps(c + i * p.c_row, accumulate ? _mm256_add_ps(_mm256_load_ps(c + i * p.c_row), sum) : sum);
    };
    const int64_t rows = p.rows - row;
#pragma GCC unroll 8
    for (int i = 0; i < kRowLanes; ++i)
        if (i < rows) finish(i);
}

inline void look_up(const Lookups& p) {
    alignas(64) Table tables[kTables];
    for (int64_t row = 0; row < p.rows; row += kRowLanes)
        for (int64_t group = 0; group < p.groups; group += kTables) {
            const int64_t groups = p.groups - group < kTables ? p.groups - group : kTables;
            make_tables(p, row, group, groups, tables);
            for (int64_t vector = 0; vector < p.vectors; ++vector)
                look_up_vector(p, tables, row, group, groups, vector, p.accumulate || group != 0);
        }
}

}  // namespace
}  // namespace bnnkit
