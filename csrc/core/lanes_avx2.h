// Four 64-bit lanes; the population count looks up nibbles and sums the bytes of each lane. Included inside an AVX2 region.
#pragma once

#include "bit_lanes_avx2.h"
#include "wide.h"

namespace bnnkit {
namespace {

template <class T>
using Native = typename VectorOf<T, 32>::Type;
using Ints16 = Wide<Native<int32_t>, 2>;
using Shorts16 = Wide<Native<int16_t>, 1>;
using Floats16 = Wide<Native<float>, 2>;
using Doubles16 = Wide<Native<double>, 4>;

// Past the caches; `to` is the beginning of a cache line. Threads may meet once their streams are finished.
inline void stream_line(float* to, const Floats16& values) {
    _mm256_stream_ps(to, (__m256)values.part[0]);
    _mm256_stream_ps(to + 8, (__m256)values.part[1]);
}
inline void finish_streams() { _mm_sfence(); }

constexpr int kTileRows = 2;  // patches whose sums fit into the registers at once

struct Lanes {
    using Vector = __m256i;
    static constexpr int kLanes = 4;
    static Vector zero() { return _mm256_setzero_si256(); }
    static Vector load(const uint64_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static void store(uint64_t* p, Vector v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
    static Vector broadcast(uint64_t v) { return _mm256_set1_epi64x(static_cast<long long>(v)); }
    static Vector add(Vector a, Vector b) { return _mm256_add_epi64(a, b); }
    static Vector sub(Vector a, Vector b) { return _mm256_sub_epi64(a, b); }
    static Vector shift_left(Vector a, int bits) { return _mm256_sll_epi64(a, _mm_cvtsi32_si128(bits)); }
    static Vector count(Vector v) {
        const __m256i nibble = _mm256_set1_epi8(15);
        const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                              0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
        const __m256i low = _mm256_shuffle_epi8(ones, _mm256_and_si256(v, nibble));
        const __m256i high = _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
        return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
    }
    static Vector differing(Vector a, Vector b) { return count(_mm256_xor_si256(a, b)); }
    static Vector differing(Vector a, Vector b, Vector mask) {
        return count(_mm256_and_si256(_mm256_xor_si256(a, b), mask));
    }
    // Mismatches over many words are added to a sum in tallies. body(first, last) is called for the ranges of words that a
    // tally holds; here it holds all, and is the sum.
    using Tally = Vector;
    static Tally open_tally(Vector sum) { return sum; }
    static Tally tally_differing(Tally tally, Vector a, Vector b) { return add(tally, differing(a, b)); }
    static Vector close_tally(Vector, Tally tally) { return tally; }
    template <class Body>
    static void for_tallies(int64_t words, const Body& body) {
        body(0, words);
    }
    // Signed product of the low halves; sums of levels fit int32.
    static Vector multiply_low32(Vector a, Vector b) { return _mm256_mul_epi32(a, b); }
    static void store_int32(int32_t* p, Vector v) {
        const __m256i even = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(even));
    }
};

inline Ints16 ints_of_bytes(const uint8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {{(Native<int32_t>)_mm256_cvtepu8_epi32(bytes),
             (Native<int32_t>)_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))}};
}

inline Shorts16 shorts_of_bytes(const uint8_t* p) {
    return {{(Native<int16_t>)_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}};
}

inline Ints16 ints_of_shorts(const Shorts16& v) {
    const auto all = (__m256i)v.part[0];
    return {{(Native<int32_t>)_mm256_cvtepi16_epi32(_mm256_castsi256_si128(all)),
             (Native<int32_t>)_mm256_cvtepi16_epi32(_mm256_extracti128_si256(all, 1))}};
}

// Bit i: whether lane i is negative.
inline uint32_t sign_mask(const Ints16& v) {
    const int low = _mm256_movemask_ps((__m256)v.part[0]), high = _mm256_movemask_ps((__m256)v.part[1]);
    return static_cast<uint32_t>(low | high << 8);
}

struct Doubles {
    using Vector = __m256d;
    static constexpr int kLanes = 4;
    static Vector zero() { return _mm256_setzero_pd(); }
    static Vector load(const double* p) { return _mm256_loadu_pd(p); }
    static void store(double* p, Vector v) { _mm256_storeu_pd(p, v); }
    static Vector broadcast(double v) { return _mm256_set1_pd(v); }
    static Vector multiply_add(Vector a, Vector b, Vector sum) { return _mm256_fmadd_pd(a, b, sum); }
};

constexpr int64_t kTransposed = 16;  // pixels per step when a tile is written with pixels contiguous

// Column c of the result lies in rows[c].
inline void transpose8(__m256i (&rows)[8]) {
    __m256i pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        rows[i] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x31);
    }
}

// Of blocks of 8 x 8, those off the diagonal change places.
inline void transpose(Ints16 (&values)[kTransposed]) {
    __m256i blocks[2][2][8];
    for (int row = 0; row < 2; ++row)
        for (int column = 0; column < 2; ++column) {
            for (int i = 0; i < 8; ++i) blocks[row][column][i] = (__m256i)values[8 * row + i].part[column];
            transpose8(blocks[row][column]);
        }
    for (int row = 0; row < 2; ++row)
        for (int column = 0; column < 2; ++column)
            for (int i = 0; i < 8; ++i) values[8 * row + i].part[column] = (Native<int32_t>)blocks[column][row][i];
}

}  // namespace
}  // namespace bnnkit
