// 16 x 16 transposition of 32-bit values. Included inside an AVX-512 region.
#pragma once

namespace bnnkit {
namespace {

// Column c of the result lies in rows[c]: first pairs within 128-bit lanes, then the lanes themselves.
inline void transpose16(__m512i (&rows)[16]) {
    __m512i pairs[16], quads[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        const __m512i even_low = _mm512_shuffle_i32x4(quads[i], quads[i + 4], 0x88);
        const __m512i odd_low = _mm512_shuffle_i32x4(quads[i], quads[i + 4], 0xDD);
        const __m512i even_high = _mm512_shuffle_i32x4(quads[i + 8], quads[i + 12], 0x88);
        const __m512i odd_high = _mm512_shuffle_i32x4(quads[i + 8], quads[i + 12], 0xDD);
        rows[i] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        rows[i + 8] = _mm512_shuffle_i32x4(even_low, even_high, 0xDD);
        rows[i + 4] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        rows[i + 12] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD);
    }
}

}  // namespace
}  // namespace bnnkit
