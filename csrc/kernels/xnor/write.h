// From integer sums to floats. Included inside an instruction-set region after lanes_*.h.
#pragma once

#include "../../core/write_nchw.h"
#include "xnor.h"

namespace bnnkit {
namespace {

struct FinishSum {
    const float* bias;

    float operator()(int32_t sum, int64_t output) const {
        return bias ? static_cast<float>(sum) + bias[output] : static_cast<float>(sum);
    }
    Floats16 operator()(Ints16 sum, int64_t output) const {
        const Floats16 value = numbers<Floats16>(sum);
        return bias ? value + bias[output] : value;
    }
    Floats16 neighbours(Ints16 sum, int64_t output) const {
        const Floats16 value = numbers<Floats16>(sum);
        return bias ? value + floats_at(bias + output) : value;
    }
};

// Writes tiles of sums as they are finished.
template <int kColumns>
struct SumWriter {
    const XnorArgs& args;
    Output output{args.y, args.conv.geometry};

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t first_output, int64_t outputs) const {
        write_nchw<kColumns>(args.conv.geometry, tile, pixel, pixels, first_output, outputs, output,
                             FinishSum{args.bias});
    }
};

}  // namespace
}  // namespace bnnkit
