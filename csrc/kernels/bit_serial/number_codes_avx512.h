// Codes of 512 partial sums side by side. Included inside an AVX-512 region after lanes_avx512.h.
#pragma once

#include "number_codes.h"

namespace bnnkit {
namespace {

// Any converter is a table of 128 bytes in two registers, or two such tables.
class NumberCodes {
public:
    // codes[n], of the numbers 0 to `most`.
    NumberCodes(const uint8_t (&codes)[256], int most, CountedAs counted)
        : largest_(*std::max_element(codes, codes + most + 1)) {
        int most_counted = 0;
        for (int x = 0; x < 256; ++x) {
            const int n = counted.number(static_cast<uint8_t>(x));
            codes_[x] = n <= most ? codes[n] : uint8_t{0};
            if (n <= most) most_counted = x;
        }
        two_tables_ = most_counted >= 128;
    }

    int lowest() const { return 0; }  // belongs to every code, and is added to none
    int largest() const { return largest_; }

    // Adds the codes of what was counted for some outputs to their sums; steps are between outputs.
    void add(const Counted* counted, int64_t outputs, int64_t step, uint16_t* sums, int64_t sums_step) const {
        const __m512i below128[2] = {_mm512_load_si512(codes_), _mm512_load_si512(codes_ + 64)};
        const auto add_with = [&](const auto& codes_of) {
            add_codes(counted, outputs, step, sums, sums_step, [&](BitVector x, uint16_t* even, uint16_t* odd) {
                const __m512i found = codes_of((__m512i)x);
                add_to(even, _mm512_and_si512(found, _mm512_set1_epi16(0xFF)));
                add_to(odd, _mm512_srli_epi16(found, 8));
            });
        };
        if (!two_tables_)
            return add_with([&](__m512i x) { return _mm512_permutex2var_epi8(below128[0], x, below128[1]); });
        const __m512i from128[2] = {_mm512_load_si512(codes_ + 128), _mm512_load_si512(codes_ + 192)};
        add_with([&](__m512i x) {
            return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), _mm512_permutex2var_epi8(below128[0], x, below128[1]),
                                          _mm512_permutex2var_epi8(from128[0], x, from128[1]));
        });
    }

private:
    static void add_to(uint16_t* sums, __m512i codes) {
        _mm512_store_si512(sums, _mm512_add_epi16(_mm512_load_si512(sums), codes));
    }

    int largest_;
    bool two_tables_;
    alignas(64) uint8_t codes_[256];
};

}  // namespace
}  // namespace bnnkit
