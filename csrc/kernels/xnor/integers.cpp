#include <vector>

#include "xnor.h"

namespace bnnkit {
namespace {

// Exact: floats hold the sums. On the processor packed networks turn sums into bits in registers (csrc/deploy); these are for
// code that runs on either device.
std::vector<float> sums_of(const BinaryConv& conv) {
    const ConvGeometry& g = conv.geometry;
    std::vector<float> sums(static_cast<size_t>(g.batch * g.out_channels * g.out_pixels()));
    XnorArgs args;
    args.conv = conv;
    args.y = sums.data();
    xnor(args);
    return sums;
}

}  // namespace

void xnor_integers(const XnorIntegersArgs& args) {
    const std::vector<float> sums = sums_of(args.conv);
    for (size_t i = 0; i < sums.size(); ++i) {
        if (args.bits == 16)
            static_cast<int16_t*>(args.y)[i] = static_cast<int16_t>(sums[i]);
        else
            static_cast<int32_t*>(args.y)[i] = static_cast<int32_t>(sums[i]);
    }
}

void xnor_bits(const XnorBitsArgs& args) {
    const ConvGeometry& g = args.conv.geometry;
    const std::vector<float> sums = sums_of(args.conv);
    const float* next = sums.data();
    for (int64_t image = 0; image < g.batch; ++image)
        for (int64_t output = 0; output < g.out_channels; ++output)
            for (int64_t pixel = 0; pixel < g.out_pixels(); ++pixel) {
                const auto sum = static_cast<int32_t>(*next++);
                const bool set = (args.flip[output] ? -sum : sum) >= args.thresholds[output];
                uint64_t* const words = args.y + (image * g.out_pixels() + pixel) * args.words();
                words[output / kWordBits] |= uint64_t{set} << (output % kWordBits);
            }
}

}  // namespace bnnkit
