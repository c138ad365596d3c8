// Two 64-bit lanes; the population count is one of bytes, summed within each lane.
#pragma once

#include "bit_lanes_plain.h"
#include "wide.h"

#include <arm_neon.h>

namespace bnnkit {
namespace {

template <class T>
using Native = typename VectorOf<T, 16>::Type;
using Ints16 = Wide<Native<int32_t>, 4>;
using Shorts16 = Wide<Native<int16_t>, 2>;
using Floats16 = Wide<Native<float>, 4>;
using Doubles16 = Wide<Native<double>, 8>;

// An ordinary store: the instruction set only knows hints against keeping a line. Nothing is left to finish.
inline void stream_line(float* to, const Floats16& values) { memcpy(to, &values, sizeof values); }
inline void finish_streams() {}

constexpr int kTileRows = 4;  // patches whose sums fit into the registers at once

struct Lanes {
    using Vector = uint64x2_t;
    static constexpr int kLanes = 2;
    static Vector zero() { return vdupq_n_u64(0); }
    static Vector load(const uint64_t* p) { return vld1q_u64(p); }
    static void store(uint64_t* p, Vector v) { vst1q_u64(p, v); }
    static Vector broadcast(uint64_t v) { return vdupq_n_u64(v); }
    static Vector add(Vector a, Vector b) { return vaddq_u64(a, b); }
    static Vector sub(Vector a, Vector b) { return vsubq_u64(a, b); }
    static Vector shift_left(Vector a, int bits) { return vshlq_u64(a, vdupq_n_s64(bits)); }
    static Vector count(Vector v) { return vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8(vreinterpretq_u8_u64(v))))); }
    static Vector differing(Vector a, Vector b) { return count(veorq_u64(a, b)); }
    static Vector differing(Vector a, Vector b, Vector mask) { return count(vandq_u64(veorq_u64(a, b), mask)); }
    // Mismatches over many words are added to a sum in tallies. body(first, last) is called for the ranges of words that a
    // tally holds: its bytes grow by up to 8 per word and must not pass 255.
    using Tally = uint8x16_t;
    static constexpr int64_t kTallyWords = 31;
    static Tally open_tally(Vector) { return vdupq_n_u8(0); }
    static Tally tally_differing(Tally tally, Vector a, Vector b) {
        return vaddq_u8(tally, vcntq_u8(vreinterpretq_u8_u64(veorq_u64(a, b))));
    }
    static Vector close_tally(Vector sum, Tally tally) { return vpadalq_u32(sum, vpaddlq_u16(vpaddlq_u8(tally))); }
    template <class Body>
    static void for_tallies(int64_t words, const Body& body) {
        for (int64_t first = 0; first < words; first += kTallyWords)
            body(first, words - first < kTallyWords ? words : first + kTallyWords);
    }
    // Signed product of the low halves; sums of levels fit int32.
    static Vector multiply_low32(Vector a, Vector b) {
        return vreinterpretq_u64_s64(
            vmull_s32(vmovn_s64(vreinterpretq_s64_u64(a)), vmovn_s64(vreinterpretq_s64_u64(b))));
    }
    static void store_int32(int32_t* p, Vector v) { vst1_s32(p, vmovn_s64(vreinterpretq_s64_u64(v))); }
};

inline Ints16 ints_of_bytes(const uint8_t* p) {
    alignas(64) int32_t numbers[16];
    for (int i = 0; i < 16; ++i) numbers[i] = p[i];
    return wide_at<Ints16>(numbers);
}

inline Shorts16 shorts_of_bytes(const uint8_t* p) {
    alignas(64) int16_t numbers[16];
    for (int i = 0; i < 16; ++i) numbers[i] = p[i];
    return wide_at<Shorts16>(numbers);
}

inline Ints16 ints_of_shorts(const Shorts16& v) { return numbers<Ints16>(v); }

// Bit i: whether lane i is negative.
inline uint32_t sign_mask(const Ints16& v) {
    const uint32x4_t place = {1, 2, 4, 8};
    uint32_t mask = 0;
    for (int i = 0; i < 4; ++i) mask |= vaddvq_u32(vandq_u32(vcltzq_s32((int32x4_t)v.part[i]), place)) << (4 * i);
    return mask;
}

struct Doubles {
    using Vector = float64x2_t;
    static constexpr int kLanes = 2;
    static Vector zero() { return vdupq_n_f64(0); }
    static Vector load(const double* p) { return vld1q_f64(p); }
    static void store(double* p, Vector v) { vst1q_f64(p, v); }
    static Vector broadcast(double v) { return vdupq_n_f64(v); }
    static Vector multiply_add(Vector a, Vector b, Vector sum) { return vfmaq_f64(sum, a, b); }
};

constexpr int64_t kTransposed = 1;  // tiles are written value by value

inline void transpose(Ints16 (&)[kTransposed]) {}

}  // namespace
}  // namespace bnnkit
