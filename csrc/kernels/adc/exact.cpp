#include <algorithm>

#include "adc.h"

namespace bnnkit {

bool exact_in_float(double scale, double offset, int64_t largest) {
    constexpr double kExact = 1 << 24;
    const double magnitude = scale < 0 ? -scale : scale;
    return offset == 0 && magnitude < kExact && magnitude == static_cast<double>(static_cast<int64_t>(magnitude)) &&
           magnitude * static_cast<double>(largest) < kExact;
}

int64_t largest_magnitude(const int32_t* levels, size_t count) {
    int64_t largest = 0;
    for (size_t j = 0; j < count; ++j) largest = std::max(largest, levels[j] < 0 ? -int64_t{levels[j]} : levels[j]);
    return largest;
}

int64_t largest_partial_sum(const BinaryConv& conv) {
    const ArrayLayout& layout = conv.layout;
    return conv.product_bound() * (layout.tap ? 1 : layout.taps) * std::min(layout.channels_per_array, layout.channels);
}

bool counts_vertically(const AdcArgs& args) {
    constexpr int64_t kReach = int64_t{1} << kMostVerticalDigits;
    if (args.conv.x_planes * args.conv.w_planes != 1 || args.level_count < 2) return false;
    for (int j = 2; j < args.level_count; ++j)
        if (int64_t{args.levels[j]} - args.levels[j - 1] != int64_t{args.levels[1]} - args.levels[0]) return false;
    return largest_partial_sum(args.conv) < kReach && args.conv.layout.arrays() * (args.level_count - 1) < kReach;
}

}  // namespace bnnkit
