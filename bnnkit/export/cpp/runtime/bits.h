// Counting bits. Bit 1 is +1, bit 0 is -1; value i of a row is bit i % 64 of word i / 64, and bits that hold no value
// are 0.
#pragma once

#include <cstdint>

namespace bnn {

constexpr int kWordBits = 64;

// Loops over the lanes of a vector are functions of their own: inlined, they are rearranged and come out as single
// values.
#if defined(__GNUC__)
#define BNN_OWN_LOOP __attribute__((noinline))
#else
#define BNN_OWN_LOOP
#endif

#if defined(__BYTE_ORDER__)
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "bytes of flags are put together as if they were little-endian");
#endif

constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

constexpr int words_for(int bits) { return ceil_div(bits, kWordBits); }

// The compiler's own count, except on x86 processors that are not known to have the instruction: a call for every word.
#if defined(__GNUC__) && (defined(__POPCNT__) || !(defined(__x86_64__) || defined(__i386__)))
inline int popcount(uint64_t bits) { return __builtin_popcountll(bits); }
#else
inline int popcount(uint64_t bits) {
    bits -= bits >> 1 & 0x5555555555555555;
    bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333);
    bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0f;
    bits += bits >> 8;
    bits += bits >> 16;
    return static_cast<int>((bits + (bits >> 32)) & 0x7f);
}
#endif

// The lowest `count` bits.
constexpr uint64_t low_bits(int count) { return count >= kWordBits ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

}  // namespace bnn
