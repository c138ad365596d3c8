// A converter restated on mismatch counts: how a population-count kernel turns a count into a level.
//
// An array with v valid rows, product bound q and c weighted mismatches has ps = q*v - 2*c, so ps >= T[j] exactly when
// c <= (q*v - T[j]) >> 1 =: limit[j]. The limits depend on v, which differs at the image border and in the last array; v takes
// few distinct values, and each gets one `Steps`. Three ways to convert, all exact:
//
//   multiply  levels equally spaced: the number of limits exceeded is floor((c + start) * factor / 2^shift) - base for some
//             integers found by search; the kernel accumulates the floors and `correction` undoes base. One multiply-add.
//   lookup    at most 16 levels and counts up to 128: a byte table gives the code, a second table the level.
//   compare   anything: a comparison per threshold.
#pragma once

#include <cstdint>
#include <vector>

#include "../../core/patches.h"
#include "adc.h"

namespace bnnkit {

struct Steps {
    uint64_t start = 0, factor = 0;          // multiply
    int64_t base = 0;                        // multiply: floor at count 0, less the limits already exceeded there
    const uint8_t* codes = nullptr;          // lookup: code of counts 0..127
    uint8_t code_of_128 = 0;                 // lookup
    const int64_t* limits = nullptr;         // compare: [level_count - 1], descending
    const uint64_t* short_limits = nullptr;  // compare in_shorts: the same within -1..2^15 - 1, four times in a word
};

class CountConverter {
public:
    enum class Method { multiply, lookup, compare };

    // `shift` is the position of the binary point in the kernel's multiplication, and how many bits its factor may have.
    CountConverter(const AdcArgs& args, const BorderClasses& borders, int shift, bool has_lookup);

    Method method() const { return method_; }
    bool reaches_128() const { return reaches_128_; }  // lookup: some array counts up to 128, one past the table
    bool parts_128() const { return parts_128_; }      // lookup: and there converts it to another level than 127
    const Steps* const* steps(int32_t border_class) const { return by_class_[border_class].data(); }  // per array
    const int64_t* levels() const { return levels_.data(); }  // lookup: 16 entries
    const int64_t* rises() const { return rises_.data(); }    // compare: level[j+1] - level[j]
    int thresholds() const { return static_cast<int>(rises_.size()); }
    // compare: whether counts are less than 2^15, no level is below the one before, and the last one is less than 2^16 above
    // the first. Four counts then fit into a word.
    bool in_shorts() const { return in_shorts_; }
    const uint64_t* short_rises() const { return short_rises_.data(); }  // rises, four times in a word
    // Sum of levels over a row's arrays = correction + gain * what the kernel accumulated.
    int64_t correction(int32_t border_class) const { return correction_[border_class]; }
    int64_t gain() const { return method_ == Method::multiply ? -step_ : 1; }

private:
    bool fit_multiply(Steps& steps, const std::vector<int64_t>& limits, int64_t max_count, int shift) const;

    Method method_;
    bool reaches_128_ = false, parts_128_ = false, in_shorts_;
    int64_t step_ = 0;  // multiply: the common difference of the levels
    std::vector<int64_t> levels_, rises_, correction_;
    std::vector<uint64_t> short_rises_;
    std::vector<Steps> steps_;
    std::vector<std::vector<const Steps*>> by_class_;
    std::vector<std::vector<int64_t>> limits_;
    std::vector<std::vector<uint64_t>> short_limits_;
    std::vector<std::vector<uint8_t>> codes_;
};

}  // namespace bnnkit
