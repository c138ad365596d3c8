#include "count_converter.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace bnnkit {
namespace {

using Wide = unsigned __int128;

constexpr int64_t kLookupCounts = 128;
constexpr int kLookupLevels = 16;
constexpr int64_t kMostShort = INT16_MAX;

uint64_t four_times(int64_t value) { return (static_cast<uint64_t>(value) & 0xFFFF) * 0x0001000100010001; }

// Smallest factor with (count + start) * factor >= value * 2^shift.
Wide reach(int64_t count, int64_t start, int64_t value, int shift) {
    const Wide denominator = static_cast<Wide>(count + start);
    return ((static_cast<Wide>(value) << shift) + denominator - 1) / denominator;
}

}  // namespace

// The floor must rise by one exactly where each limit is exceeded, at count limit + 1, and nowhere else up to max_count.
// Starting the count higher also raises the value at the first rise, so the pair (start, value) acts as a fractional offset:
// each pair leaves an interval of admissible factors, and the first non-empty one is taken.
bool CountConverter::fit_multiply(Steps& steps, const std::vector<int64_t>& limits, int64_t max_count,
                                  int shift) const {
    std::vector<int64_t> rises;
    int64_t already = 0;  // limits exceeded at count 0
    for (auto limit = limits.rbegin(); limit != limits.rend(); ++limit) {
        if (*limit < 0) ++already;
        if (*limit >= 0 && *limit < max_count) rises.push_back(*limit + 1);
    }
    if (rises.empty()) {
        steps.base = -already;
        return true;
    }
    for (size_t i = 1; i < rises.size(); ++i)
        if (rises[i] == rises[i - 1]) return false;  // two thresholds between neighbouring counts
    const double spacing =
        rises.size() > 1 ? static_cast<double>(rises.back() - rises.front()) / static_cast<double>(rises.size() - 1)
                         : 0;
    const int64_t values = rises.size() > 1 ? 64 : 1;
    for (int64_t value = 1; value <= values; ++value) {
        const auto centre =
            rises.size() > 1 ? static_cast<int64_t>(std::llround(static_cast<double>(value) * spacing)) - rises.front()
                             : max_count;
        for (int64_t start = std::max<int64_t>(0, centre - 3); start <= centre + 3; ++start) {
            Wide lowest = start > 0 ? reach(0, start, value - 1, shift) : 0, highest = (Wide{1} << shift) - 1;
            if (start == 0 && value > 1) continue;
            const int64_t beyond = value + static_cast<int64_t>(rises.size());
            highest = std::min(highest, reach(max_count, start, beyond, shift) - 1);
            for (size_t i = 0; i < rises.size() && lowest <= highest; ++i) {
                const int64_t reached = value + static_cast<int64_t>(i);
                lowest = std::max(lowest, reach(rises[i], start, reached, shift));
                if (rises[i] - 1 + start > 0)
                    highest = std::min(highest, reach(rises[i] - 1, start, reached, shift) - 1);
            }
            if (lowest > highest) continue;
            steps.start = static_cast<uint64_t>(start);
            steps.factor = static_cast<uint64_t>(lowest);
            steps.base = value - 1 - already;
            return true;
        }
    }
    return false;
}

CountConverter::CountConverter(const AdcArgs& args, const BorderClasses& borders, int shift, bool has_lookup) {
    const int64_t product = args.conv.product_bound(), arrays = args.conv.layout.arrays();
    const int levels = args.level_count;
    bool even = true, fits_table = levels <= kLookupLevels;
    for (int j = 0; j + 1 < levels; ++j) {
        rises_.push_back(int64_t{args.levels[j + 1]} - args.levels[j]);
        even = even && rises_.back() == rises_.front();
        short_rises_.push_back(four_times(rises_.back()));
    }
    in_shorts_ = std::all_of(rises_.begin(), rises_.end(), [](int64_t rise) { return rise >= 0; }) &&
                 int64_t{args.levels[levels - 1]} - args.levels[0] <= UINT16_MAX;
    step_ = levels > 1 ? rises_.front() : 0;
    for (int j = 0; j < kLookupLevels; ++j) levels_.push_back(args.levels[std::min(j, levels - 1)]);

    std::map<int64_t, size_t> index;  // of the valid rows
    for (int32_t c = 0; c < borders.count(); ++c)
        for (int64_t s = 0; s < arrays; ++s) index.emplace(borders.valid_rows(c, s), 0);
    bool all_fit = even;
    for (auto& [valid, at] : index) {
        at = steps_.size();
        const int64_t max_count = product * valid;
        auto& limits = limits_.emplace_back();
        for (int j = 0; j + 1 < levels; ++j) limits.push_back((product * valid - args.thresholds[j]) >> 1);
        auto& short_limits = short_limits_.emplace_back();
        for (const int64_t limit : limits)
            short_limits.push_back(four_times(std::clamp(limit, int64_t{-1}, kMostShort)));
        in_shorts_ = in_shorts_ && max_count <= kMostShort;
        fits_table = fits_table && max_count <= kLookupCounts;
        reaches_128_ = reaches_128_ || max_count == kLookupCounts;
        auto& codes = codes_.emplace_back();
        for (int64_t count = 0; count <= kLookupCounts; ++count)
            codes.push_back(static_cast<uint8_t>(
                std::count_if(limits.begin(), limits.end(), [&](int64_t limit) { return count <= limit; })));
        parts_128_ = parts_128_ || (max_count == kLookupCounts && codes.back() != codes[kLookupCounts - 1]);
        Steps& steps = steps_.emplace_back();
        all_fit = all_fit && fit_multiply(steps, limits, max_count, shift);
    }
    method_ = all_fit ? Method::multiply : has_lookup && fits_table ? Method::lookup : Method::compare;
    for (size_t i = 0; i < steps_.size(); ++i) {
        steps_[i].limits = limits_[i].data();
        steps_[i].short_limits = short_limits_[i].data();
        steps_[i].codes = codes_[i].data();
        steps_[i].code_of_128 = codes_[i].back();
    }
    for (int32_t c = 0; c < borders.count(); ++c) {
        auto& row = by_class_.emplace_back();
        int64_t correction = 0;
        for (int64_t s = 0; s < arrays; ++s) {
            row.push_back(&steps_[index.at(borders.valid_rows(c, s))]);
            if (method_ == Method::multiply)
                correction += args.levels[levels - 1] + step_ * row.back()->base;
            else if (method_ == Method::compare)
                correction += args.levels[0];
        }
        correction_.push_back(correction);
    }
}

}  // namespace bnnkit
