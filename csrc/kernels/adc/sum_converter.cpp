#include "sum_converter.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace bnnkit {
namespace {

constexpr float kBias = 12582912.0f;  // 1.5 * 2^23: floats near it are spaced by 1
constexpr int64_t kLookupReach = 128;
constexpr size_t kLookupLevels = 16;

// Largest magnitude a partial sum can have: every row of the fullest array at the largest product.
int64_t largest_sum(const BinaryConv& conv) {
    const ArrayLayout& layout = conv.layout;
    return conv.product_bound() * (layout.tap ? 1 : layout.taps) * std::min(layout.channels_per_array, layout.channels);
}

}  // namespace

SumConverter::SumConverter(const AdcArgs& args) : thresholds_(args.thresholds) {
    for (int j = 0; j < args.level_count; ++j) levels_.push_back(args.levels[j]);
    // Modulo 2^32, as everything up to the finished sum.
    for (size_t j = 1; j < levels_.size(); ++j)
        rises_.push_back(
            static_cast<int32_t>(static_cast<uint32_t>(levels_[j]) - static_cast<uint32_t>(levels_[j - 1])));
    const int64_t bound = largest_sum(args.conv);
    const auto arrays = static_cast<uint32_t>(args.conv.layout.arrays());
    const bool even = std::all_of(rises_.begin(), rises_.end(), [&](int32_t rise) { return rise == rises_.front(); });
    correction_ = arrays * static_cast<uint32_t>(levels_.front());
    if (rises_.size() == 1) {
        method_ = Method::single;  // the kernel counts how often the one threshold is reached
        gain_ = static_cast<uint32_t>(rises_.front());
    } else if (!rises_.empty() && even && fit_round(bound)) {
        method_ = Method::round;
        gain_ = static_cast<uint32_t>(rises_.front());
        correction_ -= gain_ * arrays * std::bit_cast<uint32_t>(kBias);
    } else if (fit_lookup(bound)) {
        method_ = Method::lookup;
        correction_ = 0;
    } else {
        method_ = Method::compare;
    }
    levels_.resize(std::max(kLookupLevels, levels_.size()), levels_.back());
}

// Codes must step exactly at the thresholds that sums within +-bound can reach, and nowhere else.
bool SumConverter::fit_round(int64_t bound) {
    if (bound >= 1 << 22) return false;
    const int32_t* all_end = thresholds_ + threshold_count();
    const int first = static_cast<int>(std::upper_bound(thresholds_, all_end, -bound) - thresholds_);
    const int last = static_cast<int>(std::upper_bound(thresholds_, all_end, bound) - thresholds_);
    if (last - first < 2) return false;
    const double span = thresholds_[last - 1] - thresholds_[first];
    const auto code = [&](int64_t ps) { return std::fma(static_cast<float>(ps), factor_, shift_) - kBias; };
    for (int step = -20; step <= 20; ++step) {
        if (span + step * 0.05 <= 0) continue;
        const double factor = (last - 1 - first) / (span + step * 0.05);
        double lowest = -1e30, highest = 1e30;  // of the shift
        for (int j = first; j < last; ++j) {
            lowest = std::max(lowest, j + 0.5 - factor * thresholds_[j]);
            highest = std::min(highest, j + 0.5 - factor * (thresholds_[j] - 1));
        }
        if (lowest >= highest) continue;
        factor_ = static_cast<float>(factor);
        shift_ = static_cast<float>((lowest + highest) / 2) + kBias;
        bool exact = code(-bound) == static_cast<float>(first) && code(bound) == static_cast<float>(last);
        for (int j = first; j < last && exact; ++j)
            exact =
                code(thresholds_[j]) == static_cast<float>(j + 1) && code(thresholds_[j] - 1) == static_cast<float>(j);
        if (exact) return true;
    }
    return false;
}

// Sums are clipped to 0..255 above -128: that may merge +127 and +128, which must then read the same.
bool SumConverter::fit_lookup(int64_t bound) {
    if (bound > kLookupReach || levels_.size() > kLookupLevels) return false;
    for (int64_t ps = -kLookupReach; ps < kLookupReach; ++ps)
        codes_.push_back(
            static_cast<uint8_t>(std::upper_bound(thresholds_, thresholds_ + rises_.size(), ps) - thresholds_));
    return std::find(thresholds_, thresholds_ + rises_.size(), kLookupReach) == thresholds_ + rises_.size();
}

}  // namespace bnnkit
