// One 64-bit lane in plain C++, for processors without a vector variant.
#pragma once

#include "bit_lanes_plain.h"
#include "wide.h"

#include <cstdint>

namespace bnnkit {
namespace {

template <class T>
using Native = typename VectorOf<T, 16>::Type;
using Ints16 = Wide<Native<int32_t>, 4>;
using Shorts16 = Wide<Native<int16_t>, 2>;
using Floats16 = Wide<Native<float>, 4>;
using Doubles16 = Wide<Native<double>, 8>;

inline void stream_line(float* to, const Floats16& values) { memcpy(to, &values, sizeof values); }
inline void finish_streams() {}

constexpr int kTileRows = 2;  // patches whose sums fit into the registers at once

struct Lanes {
    using Vector = uint64_t;
    static constexpr int kLanes = 1;
    static Vector zero() { return 0; }
    static Vector load(const uint64_t* p) { return *p; }
    static void store(uint64_t* p, Vector v) { *p = v; }
    static Vector broadcast(uint64_t v) { return v; }
    static Vector add(Vector a, Vector b) { return a + b; }
    static Vector sub(Vector a, Vector b) { return a - b; }
    static Vector shift_left(Vector a, int bits) { return a << bits; }
    static Vector differing(Vector a, Vector b) { return static_cast<uint64_t>(__builtin_popcountll(a ^ b)); }
    static Vector differing(Vector a, Vector b, Vector mask) { return differing(a & mask, b & mask); }
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
    static Vector multiply_low32(Vector a, Vector b) { return a * b; }
    static void store_int32(int32_t* p, Vector v) { *p = static_cast<int32_t>(v); }
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
    uint32_t mask = 0;
    for (int i = 0; i < 16; ++i) mask |= static_cast<uint32_t>(v.part[i / 4][i % 4] < 0) << i;
    return mask;
}

struct Doubles {
    using Vector = double;
    static constexpr int kLanes = 1;
    static Vector zero() { return 0; }
    static Vector load(const double* p) { return *p; }
    static void store(double* p, Vector v) { *p = v; }
    static Vector broadcast(double v) { return v; }
    static Vector multiply_add(Vector a, Vector b, Vector sum) { return a * b + sum; }
};

constexpr int64_t kTransposed = 1;  // tiles are written value by value

inline void transpose(Ints16 (&)[kTransposed]) {}

}  // namespace
}  // namespace bnnkit
