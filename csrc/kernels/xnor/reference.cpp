#include "xnor.h"

namespace bnnkit {
namespace {

int value(const uint64_t* words, int64_t bit) { return (words[bit / kWordBits] >> (bit % kWordBits)) & 1 ? 1 : -1; }

}  // namespace

void xnor_reference(const XnorArgs& args) {
    const BinaryConv& conv = args.conv;
    const ConvGeometry& g = conv.geometry;
    const int64_t inputs = g.group_channels(), outputs = g.group_outputs();
    float* y = args.y;
    for (int64_t image = 0; image < g.batch; ++image) {
        for (int64_t output = 0; output < g.out_channels; ++output) {
            const int64_t group = output / outputs;
            for (int64_t oy = 0; oy < g.out_height(); ++oy) {
                for (int64_t ox = 0; ox < g.out_width(); ++ox, ++y) {
                    int32_t sum = 0;
                    for (int64_t tap = 0; tap < g.taps(); ++tap) {
                        const int64_t iy = oy * g.stride_h - g.pad_h + tap / g.kernel_w * g.dilation_h;
                        const int64_t ix = ox * g.stride_w - g.pad_w + tap % g.kernel_w * g.dilation_w;
                        if (iy < 0 || iy >= g.height || ix < 0 || ix >= g.width) continue;
                        const uint64_t* pixel = conv.x +
                                                ((image * g.height + iy) * g.width + ix) * conv.x_pixel_words() +
                                                group * conv.layout.pixel_words();
                        const uint64_t* row = conv.w + output * conv.layout.row_words();
                        for (int64_t c = 0; c < inputs; ++c) sum += value(pixel, c) * value(row, tap * inputs + c);
                    }
                    *y = static_cast<float>(sum) + (args.bias ? args.bias[output] : 0.0f);
                }
            }
        }
    }
}

}  // namespace bnnkit
