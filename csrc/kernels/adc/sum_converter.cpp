#include "sum_converter.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace bnnkit {
namespace {

constexpr float kBias = 12582912.0f;  // 1.5 * 2^23: floats near it are spaced by 1
constexpr int64_t kOne16 = 1 << 15;   // 1 in the factors of round16
constexpr int64_t kMostSteps = 255;   // a code that narrow sums can hold
constexpr int kFewCompared = 3;       // thresholds that are compared as fast as a code is refined

}  // namespace

SumConverter::SumConverter(const AdcArgs& args, bool looks_up)
    : thresholds_(args.thresholds), levels_(args.levels, args.levels + args.level_count) {
    // Modulo 2^32, as everything up to the finished sum.
    for (size_t j = 1; j < levels_.size(); ++j)
        rises_.push_back(
            static_cast<int32_t>(static_cast<uint32_t>(levels_[j]) - static_cast<uint32_t>(levels_[j - 1])));
    const int64_t bound = largest_partial_sum(args.conv);
    const int32_t* end = thresholds_ + threshold_count();
    first_ = static_cast<int>(std::upper_bound(thresholds_, end, -bound) - thresholds_);
    last_ = static_cast<int>(std::upper_bound(thresholds_, end, bound) - thresholds_);
    const auto arrays = static_cast<uint32_t>(args.conv.layout.arrays());
    const bool even = !rises_.empty() &&
                      std::all_of(rises_.begin(), rises_.end(), [&](int32_t rise) { return rise == rises_.front(); });
    correction_ = arrays * static_cast<uint32_t>(levels_.front());
    if (even) gain_ = static_cast<uint32_t>(rises_.front());
    if (fit_single(std::numeric_limits<int8_t>::max())) {
        method_ = Method::single8;
    } else if (fit_single(std::numeric_limits<int16_t>::max())) {
        method_ = Method::single16;
    } else if (even && fit_round16(bound)) {
        method_ = Method::round16;
        correction_ += gain_ * arrays * static_cast<uint32_t>(first_);
    } else if (looks_up && fit_lookup(bound)) {
        method_ = Method::lookup16;
        gain_ = 1;
        correction_ = arrays * static_cast<uint32_t>(*std::min_element(levels_.begin(), levels_.end()));
    } else if (even && fit_round32(bound)) {
        method_ = Method::round32;
        correction_ -= gain_ * arrays * std::bit_cast<uint32_t>(kBias);
    } else if (fit_refine32(bound)) {
        method_ = Method::refine32;
        gain_ = 1;
        correction_ = 0;
    } else {
        method_ = Method::compare32;
        gain_ = 1;
    }
}

bool SumConverter::fit_single(int64_t reach) const {
    return threshold_count() == 1 && thresholds_[0] >= -reach && thresholds_[0] <= reach;
}

// For each shift near the middle of a step the thresholds bound the factor on both sides.
bool SumConverter::fit_round16(int64_t bound) {
    constexpr int64_t kLargest = std::numeric_limits<int16_t>::max();
    const int64_t steps = last_ - first_;
    if (steps < 2 || steps > kMostSteps || bound > kLargest) return false;
    const int64_t width = (thresholds_[last_ - 1] - thresholds_[first_]) / (steps - 1);
    for (int64_t shift = width / 2 - thresholds_[first_] - 2; shift <= width / 2 - thresholds_[first_] + 2; ++shift) {
        if (bound + shift > kLargest || shift - bound < -kLargest) continue;
        int64_t lowest = 1, highest = kLargest;  // of the factor
        for (int64_t code = 1; code <= steps; ++code) {
            const int64_t at = thresholds_[first_ + code - 1] + shift, needed = code * kOne16 - kOne16 / 2;
            if (at > 0) lowest = std::max(lowest, ceil_div(needed, at));
            if (at > 1) highest = std::min(highest, ceil_div(needed, at - 1) - 1);
        }
        if (lowest > highest) continue;
        const auto code = [&](int64_t ps) { return ((ps + shift) * lowest + kOne16 / 2) >> 15; };
        bool exact = code(-bound) == 0 && code(bound) == steps;
        for (int64_t j = 1; j <= steps && exact; ++j)
            exact = code(thresholds_[first_ + j - 1]) == j && code(thresholds_[first_ + j - 1] - 1) == j - 1;
        if (!exact) continue;
        shift16_ = static_cast<int16_t>(shift);
        factor16_ = static_cast<int16_t>(lowest);
        return true;
    }
    return false;
}

// Codes must step exactly at the thresholds that sums within +-bound can reach, and nowhere else.
bool SumConverter::fit_round32(int64_t bound) {
    if (bound >= 1 << 22 || last_ - first_ < 2) return false;
    const double span = thresholds_[last_ - 1] - thresholds_[first_];
    const auto code = [&](int64_t ps) { return std::fma(static_cast<float>(ps), factor_, shift_) - kBias; };
    for (int step = -20; step <= 20; ++step) {
        if (span + step * 0.05 <= 0) continue;
        const double factor = (last_ - 1 - first_) / (span + step * 0.05);
        double lowest = -1e30, highest = 1e30;  // of the shift
        for (int j = first_; j < last_; ++j) {
            lowest = std::max(lowest, j + 0.5 - factor * thresholds_[j]);
            highest = std::min(highest, j + 0.5 - factor * (thresholds_[j] - 1));
        }
        if (lowest >= highest) continue;
        factor_ = static_cast<float>(factor);
        shift_ = static_cast<float>((lowest + highest) / 2) + kBias;
        bool exact = code(-bound) == static_cast<float>(first_) && code(bound) == static_cast<float>(last_);
        for (int j = first_; j < last_ && exact; ++j)
            exact =
                code(thresholds_[j]) == static_cast<float>(j + 1) && code(thresholds_[j] - 1) == static_cast<float>(j);
        if (exact) return true;
    }
    return false;
}

// The line must not be ahead of a code before its threshold, nor two behind at it, nor leave the codes that sums can have.
bool SumConverter::fit_refine32(int64_t bound) {
    const int steps = last_ - first_;
    if (bound >= 1 << 22 || steps <= kFewCompared || threshold_count() >= kRefinedLevels) return false;
    const double factor =
        (steps - 1) / std::max(1.0, static_cast<double>(thresholds_[last_ - 1]) - thresholds_[first_]);
    const int least = std::max(first_ - 1, 0);
    double lowest = least - 0.5 + factor * static_cast<double>(bound);  // of the shift
    double highest = last_ + 0.5 - factor * static_cast<double>(bound);
    for (int j = first_; j < last_; ++j) {
        lowest = std::max(lowest, j - 0.5 - factor * thresholds_[j]);
        highest = std::min(highest, j + 0.5 - factor * (thresholds_[j] - 1.0));
    }
    if (lowest >= highest) return false;
    factor_ = static_cast<float>(factor);
    shift_ = static_cast<float>((lowest + highest) / 2) + kBias;
    const auto near = [&](int64_t ps) { return std::fma(static_cast<float>(ps), factor_, shift_) - kBias; };
    if (near(-bound) < static_cast<float>(least) || near(bound) > static_cast<float>(last_)) return false;
    for (int j = first_; j < last_; ++j)
        if (near(thresholds_[j] - 1) > static_cast<float>(j) || near(thresholds_[j]) < static_cast<float>(j))
            return false;
    for (int code = 0; code < kRefinedLevels; ++code) {
        next_thresholds_[code] = code < threshold_count() ? thresholds_[code] : std::numeric_limits<int32_t>::max();
        refined_levels_[code] = levels_[static_cast<size_t>(std::min(code, threshold_count()))];
    }
    return true;
}

// Sums are clipped to 0..255 above -128: that may merge +127 and +128, which must then read the same.
bool SumConverter::fit_lookup(int64_t bound) {
    const auto [low, high] = std::minmax_element(levels_.begin(), levels_.end());
    const int64_t span = int64_t{*high} - *low;
    const int32_t* end = thresholds_ + threshold_count();
    if (bound > kLookupReach || span > 0xFFFF || std::find(thresholds_, end, kLookupReach) != end) return false;
    for (int byte = 0; byte < (span > 0xFF ? 2 : 1); ++byte)
        for (int64_t ps = -kLookupReach; ps < kLookupReach; ++ps)
            tables_.push_back(static_cast<uint8_t>(
                (levels_[std::upper_bound(thresholds_, end, ps) - thresholds_] - *low) >> (8 * byte)));
    return true;
}

}  // namespace bnnkit
