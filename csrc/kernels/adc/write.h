// From sums of levels to floats. Included inside an instruction-set region after blocks.h.
#pragma once

#include "adc.h"

namespace bnnkit {
namespace {

typedef double Doubles16 __attribute__((vector_size(128)));

// scale * sum + offset * arrays (+ bias) in double, rounded once, as in the reference.
struct FinishLevels {
    double scale, base;
    const float* bias;

    float operator()(int32_t sum, int64_t output) const {
        const double value = scale * sum + base;
        return static_cast<float>(bias ? value + bias[output] : value);
    }
    Floats16 operator()(Ints16 sum, int64_t output) const {
        const Doubles16 value = scale * __builtin_convertvector(sum, Doubles16) + base;
        return __builtin_convertvector(bias ? value + static_cast<double>(bias[output]) : value, Floats16);
    }
};

template <int kColumns>
inline void write_levels(const AdcArgs& args, const int32_t* tile, int64_t first_pixel, int64_t pixels, int64_t first_output,
                         int64_t outputs) {
    write_nchw<kColumns>(args.conv.geometry, tile, first_pixel, pixels, first_output, outputs, args.y,
                         FinishLevels{args.scale, args.offset * static_cast<double>(args.conv.layout.arrays()), args.bias});
}

}  // namespace
}  // namespace bnnkit
