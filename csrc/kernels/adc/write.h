// From sums of levels to floats. Included inside an instruction-set region after blocks.h.
#pragma once

#include "adc.h"

namespace bnnkit {
namespace {

// y = offset * arrays + scale * sum (+ bias) in double, rounded once.
template <int kColumns>
inline void write_levels(const AdcArgs& args, const int32_t* tile, int64_t first_pixel, int64_t pixels, int64_t first_output,
                         int64_t outputs) {
    const double base = args.offset * static_cast<double>(args.conv.layout.arrays()), scale = args.scale;
    const float* bias = args.bias;
    write_nchw<kColumns>(args.conv.geometry, tile, first_pixel, pixels, first_output, outputs, args.y,
                         [=](int32_t sum, int64_t output) {
                             const double value = base + scale * sum;
                             return static_cast<float>(bias ? value + bias[output] : value);
                         });
}

}  // namespace
}  // namespace bnnkit
