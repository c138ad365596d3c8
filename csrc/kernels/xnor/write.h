// From integer sums to floats. Included inside an instruction-set region after blocks.h.
#pragma once

#include "xnor.h"

namespace bnnkit {
namespace {

struct FinishSum {
    const float* bias;

    float operator()(int32_t sum, int64_t output) const {
        return bias ? static_cast<float>(sum) + bias[output] : static_cast<float>(sum);
    }
    Floats16 operator()(Ints16 sum, int64_t output) const {
        const Floats16 value = __builtin_convertvector(sum, Floats16);
        return bias ? value + bias[output] : value;
    }
};

template <int kColumns>
inline void write_sums(const XnorArgs& args, const int32_t* tile, int64_t first_pixel, int64_t pixels,
                       int64_t first_output, int64_t outputs) {
    write_nchw<kColumns>(args.conv.geometry, tile, first_pixel, pixels, first_output, outputs, args.y,
                         FinishSum{args.bias});
}

}  // namespace
}  // namespace bnnkit
