#include "../../core/cuda/launch.h"
#include "dense.h"

namespace bnnkit {
namespace {

// A thread per output value; neighbours read neighbouring pixels and the same weights, which the first-level cache keeps.
__global__ void convolve(DenseArgs a) {
    const ConvGeometry& g = a.geometry;
    const int64_t width = g.out_width(), pixels = g.out_pixels();
    for_each_item(g.batch * g.out_channels * pixels, [&](int64_t i) {
        const int64_t n = i / (g.out_channels * pixels), o = i / pixels % g.out_channels, pixel = i % pixels;
        const int64_t first_row = pixel / width * g.stride_h - g.pad_h;
        const int64_t first_column = pixel % width * g.stride_w - g.pad_w;
        const int64_t plane = g.height * g.width, taps = g.taps();
        double sum = 0;
        for (int64_t tap = 0; tap < taps; ++tap) {
            const int64_t row = first_row + tap / g.kernel_w, column = first_column + tap % g.kernel_w;
            if (row < 0 || row >= g.height || column < 0 || column >= g.width) continue;
            const float* const x = a.x + n * g.channels * plane + row * g.width + column;
            const float* const w = a.w + o * g.channels * taps + tap;
            for (int64_t c = 0; c < g.channels; ++c)
                sum += static_cast<double>(x[c * plane]) * static_cast<double>(w[c * taps]);
        }
        if (a.bias) sum += static_cast<double>(a.bias[o]);
        a.y[i] = static_cast<float>(sum);
    });
}

}  // namespace

void dense_cuda(const DenseArgs& args, const Device& device) {
    const ConvGeometry& g = args.geometry;
    launch(convolve, blocks_for(g.batch * g.out_channels * g.out_pixels()), kThreads, 0, device.stream, args);
}

}  // namespace bnnkit
