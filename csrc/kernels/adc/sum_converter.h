// A converter restated on 32-bit partial sums: how the tile kernel turns them into levels. The digits of a method are the
// bits of the sums it keeps: narrow ones, because beside tile products every access to memory is felt.
//
//   single8    one threshold within +-127: sums saturated to bytes are compared, and the passes counted.
//   single16   one threshold within +-32767, likewise.
//   round16    levels equally spaced: the code is (ps + shift) * factor / 2^15, rounded, one instruction on 16 bits.
//   lookup16   partial sums within +-128: tables of 256 bytes hold the level above the lowest one, a byte per table.
//   round32    levels equally spaced: the code is the nearest integer to factor * ps + shift in one fused multiply-add, whose
//              float result, biased by 1.5 * 2^23, holds that integer in its low bits. The kernel adds up raw bits and
//              `correction` takes the bias out again, modulo 2^32.
//   refine32   at most 16 levels, their thresholds within half a step of a line: the nearest integer to factor * ps + shift is
//              the code or one below it, which the threshold between the two decides.
//   compare32  anything: a comparison per threshold.
//
// Whether a method is exact is checked here on both sides of every threshold.
#pragma once

#include <cstdint>
#include <vector>

#include "adc.h"

namespace bnnkit {

class SumConverter {
public:
    enum class Method { single8, single16, round16, lookup16, round32, refine32, compare32 };

    static constexpr int kRefinedLevels = 16;
    static constexpr int64_t kLookupReach = 128;
    static constexpr int64_t kLookupValues = 2 * kLookupReach;
    // Arrays after which narrow sums must be added up elsewhere: no step is above 255.
    static constexpr int64_t kNarrowArrays = 255;

    // `looks_up`: where the instruction set has lookup16.
    explicit SumConverter(const AdcArgs& args, bool looks_up = true);

    Method method() const { return method_; }
    int16_t shift16() const { return shift16_; }
    int16_t factor16() const { return factor16_; }
    float factor() const { return factor_; }
    float shift() const { return shift_; }  // includes the bias
    int lookup_tables() const { return static_cast<int>(tables_.size()) / static_cast<int>(kLookupValues); }  // 1 or 2
    const uint8_t* lookup_table(int byte) const { return tables_.data() + byte * kLookupValues; }
    const int32_t* next_thresholds() const { return next_thresholds_; }  // refine32: by code, kRefinedLevels of them
    const int32_t* levels() const { return refined_levels_; }            // likewise
    const int32_t* thresholds() const { return thresholds_; }
    const int32_t* rises() const { return rises_.data(); }
    int threshold_count() const { return static_cast<int>(rises_.size()); }
    // Sum of levels = gain * accumulated + correction, in arithmetic modulo 2^32.
    uint32_t gain() const { return gain_; }
    uint32_t correction() const { return correction_; }

private:
    bool fit_single(int64_t reach) const;
    bool fit_round16(int64_t bound);
    bool fit_round32(int64_t bound);
    bool fit_refine32(int64_t bound);
    bool fit_lookup(int64_t bound);

    Method method_;
    const int32_t* thresholds_;
    int16_t shift16_ = 0, factor16_ = 0;
    float factor_ = 0, shift_ = 0;
    int32_t next_thresholds_[kRefinedLevels] = {}, refined_levels_[kRefinedLevels] = {};
    std::vector<uint8_t> tables_;
    std::vector<int32_t> levels_, rises_;
    // Thresholds below every partial sum, and the end of those that one can reach.
    int first_ = 0, last_ = 0;
    uint32_t gain_ = 1, correction_ = 0;
};

}  // namespace bnnkit
