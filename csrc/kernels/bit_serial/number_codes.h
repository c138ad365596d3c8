// Codes of partial sums that are numbers of eight digits, each a vector of bits. Included inside an instruction-set region, by
// number_codes_*.h.
#pragma once

namespace bnnkit {
namespace {

// How a counted byte x stands for a partial sum v = n + lowest: n is x + offset or, where rows count downwards only, offset - x,
// modulo 256.
struct CountedAs {
    bool negated;
    uint8_t offset;

    uint8_t number(uint8_t x) const { return static_cast<uint8_t>(negated ? offset - x : x + offset); }
};

constexpr int kSumRows = 2 * kByteDigits, kSumLanes = kLaneBytes / 2;

// Sums of codes of a vector of patches, in the order in which digits become bytes: row r, lane l is of patch
// 16 * l + 8 * (r / 8) + r % 8, bit r % 8 of byte 2 * l + r / 8 of its digits.
template <class Sum>
using SumRows = Sum[kSumRows][kSumLanes];

struct Counted {
    alignas(64) BitVector digits[kByteDigits];
};

// codes_of(bytes), of digits that have become bytes, is added to sums, for each of `outputs`.
template <class Codes>
inline void add_codes(const Counted* counted, int64_t outputs, int64_t step, uint16_t* sums, int64_t sums_step,
                      const Codes& codes_of) {
    for (int64_t o = 0; o < outputs; ++o, counted += step, sums += sums_step) {
        BitVector x[kByteDigits];
#pragma GCC unroll 8
        for (int i = 0; i < kByteDigits; ++i) x[i] = counted->digits[i];
        transpose_bits(x);
#pragma GCC unroll 8
        for (int i = 0; i < kByteDigits; ++i)
            codes_of(x[i], sums + i * kSumLanes, sums + (kByteDigits + i) * kSumLanes);
    }
}

}  // namespace
}  // namespace bnnkit
