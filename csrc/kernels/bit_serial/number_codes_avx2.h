// Codes of 256 partial sums side by side. Included inside an AVX2 region after lanes_avx2.h.
#pragma once

#include "number_codes.h"

namespace bnnkit {
namespace {

// A converter that rises evenly is a multiplication, proved here for every number that can occur; any other one is looked up, 16
// entries of its table at a time.
class NumberCodes {
    // Adds what the line makes of number(x).
    template <class Number>
    auto along_line(const Number& number) const {
        return [number, slope = _mm256_set1_epi16(static_cast<int16_t>(slope_)),
                shift = _mm256_set1_epi16(static_cast<int16_t>(shift_)),
                high = _mm256_set1_epi16(static_cast<int16_t>(0xFF00))](__m256i x, uint16_t* even, uint16_t* odd) {
            const auto code = [&](__m256i times256) {
                return _mm256_srli_epi16(_mm256_add_epi16(_mm256_mulhi_epu16(times256, slope), shift), 8);
            };
            const __m256i n = number(x);
            add_to(even, code(_mm256_slli_epi16(n, 8)));
            add_to(odd, code(_mm256_and_si256(n, high)));
        };
    }

public:
    // codes[n], of the numbers 0 to `most`.
    NumberCodes(const uint8_t (&codes)[256], int most, CountedAs counted) : counted_(counted) {
        set_ends(codes, most);
        if (rises(codes, most) && set_line(codes)) return;
        first_ = 0, last_ = most, lowest_ = 0;
        line_ = false;
        largest_ = *std::max_element(codes, codes + most + 1);
        memcpy(codes_, codes, sizeof codes_);
    }

    int lowest() const { return lowest_; }    // belongs to every code, and is added to none
    int largest() const { return largest_; }  // that is added

    // Adds the codes of what was counted for some outputs to their sums; steps are between outputs.
    void add(const Counted* counted, int64_t outputs, int64_t step, uint16_t* sums, int64_t sums_step) const {
        const auto add_with = [&](const auto& codes_of) {
            add_codes(counted, outputs, step, sums, sums_step,
                      [&](BitVector x, uint16_t* even, uint16_t* odd) { codes_of((__m256i)x, even, odd); });
        };
        if (!line_)
            add_with([this](__m256i x, uint16_t* even, uint16_t* odd) {
                const __m256i found = look_up(x);
                add_to(even, _mm256_and_si256(found, _mm256_set1_epi16(0xFF)));
                add_to(odd, _mm256_srli_epi16(found, 8));
            });
        else if (counted_.negated)
            add_with(along_line([most = spread(counted_.offset - first_), least = spread(counted_.offset - last_)](
                                    __m256i x) { return _mm256_subs_epu8(most, _mm256_max_epu8(x, least)); }));
        else if (counted_.offset != 0)
            add_with(
                along_line([offset = spread(counted_.offset), first = spread(first_), last = spread(last_)](__m256i x) {
                    return _mm256_subs_epu8(_mm256_min_epu8(_mm256_add_epi8(x, offset), last), first);
                }));
        else
            add_with(along_line([first = spread(first_), last = spread(last_)](__m256i x) {
                return _mm256_subs_epu8(_mm256_min_epu8(x, last), first);
            }));
    }

private:
    static constexpr int kSlopes = 512;  // that are tried, either side of the nearest

    static __m256i spread(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }

    static bool rises(const uint8_t* codes, int most) {
        for (int n = 0; n < most; ++n)
            if (codes[n] > codes[n + 1]) return false;
        return true;
    }

    // Codes below `first` are like it, and those above `last`.
    void set_ends(const uint8_t* codes, int most) {
        first_ = 0, last_ = most;
        while (first_ < most && codes[first_ + 1] == codes[0]) ++first_;
        while (last_ > first_ && codes[last_ - 1] == codes[most]) --last_;
        lowest_ = codes[0], largest_ = codes[most] - codes[0];
    }

    // Finds code - lowest = ((n - first) * 256 * slope / 65536 + shift) / 256, each division rounded down.
    bool set_line(const uint8_t* codes) {
        const int numbers = last_ - first_;
        const int nearest = numbers == 0 ? 0 : largest_ * 65536 / numbers;
        for (int i = 0; i <= 2 * kSlopes; ++i) {
            const int slope = nearest + (i % 2 == 0 ? i / 2 : -(i + 1) / 2);
            if (slope < 0 || slope > 65535) continue;
            int least = 0, greatest = 65535 - (numbers * 256 * slope >> 16);
            for (int n = 0; n <= numbers && least <= greatest; ++n) {
                const int code = codes[first_ + n] - lowest_;
                const int height = static_cast<int>(static_cast<int64_t>(n) * 256 * slope >> 16);
                least = std::max(least, code * 256 - height);
                greatest = std::min(greatest, code * 256 + 255 - height);
            }
            if (least > greatest) continue;
            slope_ = static_cast<uint16_t>(slope), shift_ = static_cast<uint16_t>(least);
            line_ = true;
            return true;
        }
        return false;
    }

    __m256i look_up(__m256i x) const {
        const __m256i offset = spread(counted_.offset);
        __m256i n = counted_.negated ? _mm256_sub_epi8(offset, x) : _mm256_add_epi8(x, offset);
        __m256i found = _mm256_setzero_si256();
        for (int first = 0; first <= last_; first += 16, n = _mm256_sub_epi8(n, spread(16))) {
            // Of numbers from 16 on, and those that are behind, the sum has its highest bit set, and nothing is found.
            const __m256i index = _mm256_adds_epu8(n, spread(0x70));
            const __m256i table =
                _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(codes_ + first)));
            found = _mm256_or_si256(found, _mm256_shuffle_epi8(table, index));
        }
        return found;
    }

    static void add_to(uint16_t* sums, __m256i codes) {
        auto* const at = reinterpret_cast<__m256i*>(sums);
        _mm256_store_si256(at, _mm256_add_epi16(_mm256_load_si256(at), codes));
    }

    CountedAs counted_;
    bool line_ = false;
    int first_, last_, lowest_, largest_;
    uint16_t slope_ = 0, shift_ = 0;
    alignas(16) uint8_t codes_[256];
};

}  // namespace
}  // namespace bnnkit
