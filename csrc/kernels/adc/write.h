// From sums of levels to floats. Included inside an instruction-set region after lanes_*.h.
#pragma once

#include "../../core/write_nchw.h"
#include "adc.h"

namespace bnnkit {
namespace {

// scale * sum + offset * arrays (+ bias) in double, rounded once, as in the reference.
struct FinishInDouble {
    double scale, base;
    const float* bias;

    float operator()(int32_t sum, int64_t output) const {
        const double value = scale * sum + base;
        return static_cast<float>(bias ? value + bias[output] : value);
    }
    Floats16 operator()(Ints16 sum, int64_t output) const {
        const Doubles16 value = scale * numbers<Doubles16>(sum) + base;
        return numbers<Floats16>(bias ? value + static_cast<double>(bias[output]) : value);
    }
    Floats16 neighbours(Ints16 sum, int64_t output) const {
        const Doubles16 value = scale * numbers<Doubles16>(sum) + base;
        return numbers<Floats16>(bias ? value + numbers<Doubles16>(floats_at(bias + output)) : value);
    }
};

// The same numbers in float, where scale * sum is exact in it and the offset is 0. Then the bias is the only rounding: if its
// exponent is at most 29 below the value's, their sum is exact in double; if it is lower still, both ways return the value.
struct FinishInFloat {
    float scale;
    const float* bias;

    float operator()(int32_t sum, int64_t output) const {
        const float value = scale * static_cast<float>(sum);
        return bias ? value + bias[output] : value;
    }
    Floats16 operator()(Ints16 sum, int64_t output) const {
        const Floats16 value = scale * numbers<Floats16>(sum);
        return bias ? value + bias[output] : value;
    }
    Floats16 neighbours(Ints16 sum, int64_t output) const {
        const Floats16 value = scale * numbers<Floats16>(sum);
        return bias ? value + floats_at(bias + output) : value;
    }
};

// Writes tiles of level sums as they are finished.
template <int kColumns>
struct LevelWriter {
    const AdcArgs& args;
    Output output{args.y, args.conv.geometry};
    bool in_float = exact_in_float(
        args.scale, args.offset,
        largest_magnitude(args.levels, static_cast<size_t>(args.level_count)) * args.conv.layout.arrays());

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t first_output, int64_t outputs) const {
        const double base = args.offset * static_cast<double>(args.conv.layout.arrays());
        if (in_float)
            write_nchw<kColumns>(args.conv.geometry, tile, pixel, pixels, first_output, outputs, output,
                                 FinishInFloat{static_cast<float>(args.scale), args.bias});
        else
            write_nchw<kColumns>(args.conv.geometry, tile, pixel, pixels, first_output, outputs, output,
                                 FinishInDouble{args.scale, base, args.bias});
    }
};

}  // namespace
}  // namespace bnnkit
