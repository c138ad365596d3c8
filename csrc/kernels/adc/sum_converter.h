// A converter restated on 32-bit partial sums: how the tile kernel turns 16 of them into levels.
//
//   round    levels equally spaced: the code is the nearest integer to factor * ps + shift in one fused multiply-add, whose
//            float result, biased by 1.5 * 2^23, holds that integer in its low bits. The kernel adds up raw bits and `finish`
//            takes the bias out again, modulo 2^32. Exact: checked here on both sides of every threshold.
//   lookup   at most 16 levels and partial sums within +-128: a byte table gives the code, a register the level.
//   compare  anything: a comparison per threshold.
#pragma once

#include <cstdint>
#include <vector>

#include "adc.h"

namespace bnnkit {

class SumConverter {
public:
    enum class Method { single, round, lookup, compare };

    explicit SumConverter(const AdcArgs& args);

    Method method() const { return method_; }
    float factor() const { return factor_; }
    float shift() const { return shift_; }                    // includes the bias
    const uint8_t* codes() const { return codes_.data(); }    // lookup: code at ps + 128, clipped to a byte
    const int32_t* levels() const { return levels_.data(); }  // lookup: 16 entries
    const int32_t* thresholds() const { return thresholds_; }
    const int32_t* rises() const { return rises_.data(); }
    int threshold_count() const { return static_cast<int>(rises_.size()); }
    // Sum of levels = gain * accumulated + correction, in arithmetic modulo 2^32.
    uint32_t gain() const { return gain_; }
    uint32_t correction() const { return correction_; }

private:
    bool fit_round(int64_t bound);
    bool fit_lookup(int64_t bound);

    Method method_;
    const int32_t* thresholds_;
    float factor_ = 0, shift_ = 0;
    std::vector<uint8_t> codes_;
    std::vector<int32_t> levels_, rises_;
    uint32_t gain_ = 1, correction_ = 0;
};

}  // namespace bnnkit
