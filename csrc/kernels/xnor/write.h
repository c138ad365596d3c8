// From integer sums to floats. Included inside an instruction-set region after blocks.h.
#pragma once

#include "xnor.h"

namespace bnnkit {
namespace {

template <int kColumns>
inline void write_sums(const XnorArgs& args, const int32_t* tile, int64_t first_pixel, int64_t pixels, int64_t first_output,
                       int64_t outputs) {
    const float* bias = args.bias;
    write_nchw<kColumns>(args.conv.geometry, tile, first_pixel, pixels, first_output, outputs, args.y,
                         [=](int32_t sum, int64_t output) {
                             return bias ? static_cast<float>(sum) + bias[output] : static_cast<float>(sum);
                         });
}

}  // namespace
}  // namespace bnnkit
