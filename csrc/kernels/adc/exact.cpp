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

}  // namespace bnnkit
