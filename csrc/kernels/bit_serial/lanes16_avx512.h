// 32 lanes of 16 bits. Included inside an AVX-512 region.
#pragma once

namespace bnnkit {
namespace {
constexpr int kLaneOutputs = 32;
}  // namespace
}  // namespace bnnkit

#include "lanes16.h"

namespace bnnkit {
namespace {

constexpr int kPixels = 2, kInputs = 4;  // partial sums that the registers hold at once: pixels x input bits

inline Shorts population(Shorts v) { return (Shorts)_mm512_popcnt_epi16((__m512i)v); }

inline Shorts meeting(Shorts columns, const uint32_t* twice) {
    return (Shorts)_mm512_and_epi32((__m512i)columns, _mm512_set1_epi32(static_cast<int>(*twice)));
}

struct Table {
    __m512i low, high;
};

inline Table table_at(const uint8_t* codes) { return {_mm512_loadu_si512(codes), _mm512_loadu_si512(codes + 64)}; }

// The table's entry for every count up to 127.
inline Shorts look_up(const Table& table, Shorts counts) {
    constexpr __mmask64 kLowBytes = 0x5555555555555555;
    return (Shorts)_mm512_maskz_permutex2var_epi8(kLowBytes, table.low, (__m512i)counts, table.high);
}

inline Shorts at_most(Shorts v, int16_t most) { return (Shorts)_mm512_min_epi16((__m512i)v, _mm512_set1_epi16(most)); }

inline Shorts select_equal(Shorts v, int16_t value, Shorts equal, Shorts other) {
    const __mmask32 mask = _mm512_cmpeq_epi16_mask((__m512i)v, _mm512_set1_epi16(value));
    return (Shorts)_mm512_mask_mov_epi16((__m512i)other, mask, (__m512i)equal);
}

}  // namespace
}  // namespace bnnkit
