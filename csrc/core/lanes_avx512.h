// Eight 64-bit lanes with a population count per lane. Included inside an AVX-512 region.
#pragma once

#include "bit_lanes_avx512.h"
#include "transpose_avx512.h"
#include "wide.h"

namespace bnnkit {
namespace {

template <class T>
using Native = typename VectorOf<T, 64>::Type;
using Ints16 = Wide<Native<int32_t>, 1>;
using Floats16 = Wide<Native<float>, 1>;
using Doubles16 = Wide<Native<double>, 2>;

// Past the caches; `to` is the beginning of a cache line. Threads may meet once their streams are finished.
inline void stream_line(float* to, Floats16 values) { _mm512_stream_ps(to, (__m512)values.part[0]); }
inline void finish_streams() { _mm_sfence(); }

constexpr int kTileRows = 4;  // patches whose sums fit into the registers at once

struct Lanes {
    using Vector = __m512i;
    static constexpr int kLanes = 8;
    static Vector zero() { return _mm512_setzero_si512(); }
    static Vector load(const uint64_t* p) { return _mm512_loadu_si512(p); }
    static void store(uint64_t* p, Vector v) { _mm512_storeu_si512(p, v); }
    static Vector broadcast(uint64_t v) { return _mm512_set1_epi64(static_cast<long long>(v)); }
    static Vector add(Vector a, Vector b) { return _mm512_add_epi64(a, b); }
    static Vector sub(Vector a, Vector b) { return _mm512_sub_epi64(a, b); }
    static Vector shift_left(Vector a, int bits) { return _mm512_sll_epi64(a, _mm_cvtsi32_si128(bits)); }
    static Vector differing(Vector a, Vector b) { return _mm512_popcnt_epi64(_mm512_xor_si512(a, b)); }
    static Vector differing(Vector a, Vector b, Vector mask) {
        return _mm512_popcnt_epi64(_mm512_ternarylogic_epi64(a, b, mask, 0x28));  // (a ^ b) & mask
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
    static Vector multiply_low32(Vector a, Vector b) { return _mm512_mul_epi32(a, b); }
    static void store_int32(int32_t* p, Vector v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi64_epi32(v));
    }
};

inline Ints16 ints_of_bytes(const uint8_t* p) {
    return {{(Native<int32_t>)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}};
}

// Shorter numbers would take as many vectors.
using Shorts16 = Ints16;
inline Shorts16 shorts_of_bytes(const uint8_t* p) { return ints_of_bytes(p); }
inline Ints16 ints_of_shorts(const Shorts16& v) { return v; }

// Bit i: whether lane i is negative.
inline uint32_t sign_mask(Ints16 v) { return _mm512_movepi32_mask((__m512i)v.part[0]); }

struct Doubles {
    using Vector = __m512d;
    static constexpr int kLanes = 8;
    static Vector zero() { return _mm512_setzero_pd(); }
    static Vector load(const double* p) { return _mm512_loadu_pd(p); }
    static void store(double* p, Vector v) { _mm512_storeu_pd(p, v); }
    static Vector broadcast(double v) { return _mm512_set1_pd(v); }
    static Vector multiply_add(Vector a, Vector b, Vector sum) { return _mm512_fmadd_pd(a, b, sum); }
};

constexpr int64_t kTransposed = 16;  // pixels per step when a tile is written with pixels contiguous

// (Through a copy in registers: an array of one vector type read as an array of another is no longer the same memory to compilers.)
inline void transpose(Ints16 (&values)[kTransposed]) {
    __m512i rows[kTransposed];
    for (int i = 0; i < kTransposed; ++i) rows[i] = (__m512i)values[i].part[0];
    transpose16(rows);
    for (int i = 0; i < kTransposed; ++i) values[i].part[0] = (Native<int32_t>)rows[i];
}

}  // namespace
}  // namespace bnnkit
