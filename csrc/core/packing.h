// The packing law: value i of a row is bit i%8 of byte i/8; a row is whole 8-byte words; unused bits are 0.
// Bit 1 stands for +1, bit 0 for -1 (value = 2*bit - 1), so sign planes and 0/1 bit planes share one law.
// Little-endian words make bit i of the row bit i%64 of word i/64, which every kernel relies on.
#pragma once

#include <cstdint>

namespace bnnkit {

constexpr int64_t kWordBits = 64;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr int64_t words_for(int64_t bits) { return ceil_div(bits, kWordBits); }

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed words are little-endian");

}  // namespace bnnkit
