#include "cuda_converter.h"

#include <algorithm>

namespace bnnkit {

CudaConverter::CudaConverter(const AdcArgs& args) : bound(largest_partial_sum(args.conv)) {
    const int count = args.level_count - 1;
    const auto level = [&](int code) { return static_cast<uint32_t>(args.levels[code]); };
    const auto arrays = static_cast<uint32_t>(args.conv.layout.arrays());
    if (count == 1) {
        // What is accumulated are the misses.
        method = Method::single;
        threshold = static_cast<int32_t>(std::clamp<int64_t>(args.thresholds[0], -bound, bound + 1));
        gain = level(0) - level(1);
        correction = arrays * level(1);
        return;
    }
    if (fit_uniform(args)) {
        method = Method::uniform;
        return;
    }
    if (2 * bound + 1 <= kMostEntries) {
        method = Method::table;
        for (int64_t ps = -bound; ps <= bound; ++ps)
            table.push_back(
                args.levels[std::upper_bound(args.thresholds, args.thresholds + count, ps) - args.thresholds]);
        return;
    }
    method = Method::search;
    table.assign(args.thresholds, args.thresholds + count);
    table.insert(table.end(), args.levels, args.levels + args.level_count);
}

// Codes must step exactly at the thresholds that partial sums can reach, and nowhere else: each of them bounds the shift
// from both sides.
bool CudaConverter::fit_uniform(const AdcArgs& args) {
    constexpr int64_t kOne = int64_t{1} << kCodeShift, kLargest = (int64_t{1} << 31) - 1;
    const int32_t* end = args.thresholds + args.level_count - 1;
    const int32_t* first = std::upper_bound(args.thresholds, end, -bound);
    const int32_t* last = std::upper_bound(args.thresholds, end, bound);
    const int64_t steps = last - first;
    if (steps < 2 || (steps + 1) * kOne > kLargest) return false;
    const int32_t* levels = args.levels + (first - args.thresholds);  // of the lowest code that occurs
    const auto rise = [&](int64_t j) {
        return static_cast<uint32_t>(levels[j + 1]) - static_cast<uint32_t>(levels[j]);
    };
    for (int64_t j = 1; j < steps; ++j)
        if (rise(j) != rise(0)) return false;

    const int64_t span = int64_t{last[-1]} - *first;
    if (span < 1) return false;
    constexpr int kTries = 64;  // spans between one less and one more than that of the thresholds
    for (int attempt = 0; attempt <= 2 * kTries; ++attempt) {
        const int64_t scaled = span * kTries + (attempt % 2 ? -1 : 1) * ((attempt + 1) / 2);
        if (scaled <= 0) continue;
        const int64_t slope = (steps - 1) * kOne * kTries / scaled;
        int64_t lowest = bound * slope, highest = (steps + 1) * kOne - 1 - bound * slope;  // codes 0 .. steps
        for (int64_t j = 1; j <= steps; ++j) {
            lowest = std::max(lowest, j * kOne - slope * first[j - 1]);
            highest = std::min(highest, j * kOne - slope * (first[j - 1] - 1) - 1);
        }
        if (lowest > highest) continue;
        const int64_t middle = lowest + (highest - lowest) / 2;
        // The kernel adds shift - valid * slope to 2 * count * slope: both must fit, as their sum does.
        if (2 * slope > kLargest || middle > kLargest || middle < -kLargest || 2 * bound * slope > kLargest) continue;
        factor = static_cast<int32_t>(slope);
        shift = static_cast<int32_t>(middle);
        gain = rise(0);
        correction = static_cast<uint32_t>(args.conv.layout.arrays()) * static_cast<uint32_t>(levels[0]);
        return true;
    }
    return false;
}

}  // namespace bnnkit
