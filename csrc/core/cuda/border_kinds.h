// Output pixels by what of their patch is padding: all pixels in the middle of the image are of one kind, and there are so few
// others that a table per kind and output channel is small.
#pragma once

#include "patch_word.h"

namespace bnnkit {

// One axis of the output. Kind 0: no tap is padded; of those with padded taps every position has a kind of its own.
struct BorderAxis {
    int64_t stride = 1, pad = 0, dilation = 1, size = 1;
    int64_t low = 0, high = 1, out = 1;  // without padded taps are the positions from `low` on and before `high`

    static BorderAxis of(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation, int64_t out) {
        BorderAxis axis = {stride, pad, dilation, size, std::min(out, ceil_div(pad, stride)), 0, out};
        const int64_t last = size - 1 + pad - dilation * (kernel - 1);  // where the last tap is the last pixel
        axis.high = last < 0 ? 0 : std::min(out, last / stride + 1);
        if (axis.high <= axis.low) axis.low = axis.high = out;
        return axis;
    }

    __host__ __device__ constexpr int64_t kinds() const { return 1 + low + out - high; }
    __host__ __device__ constexpr int64_t kind(int64_t position) const {
        return position < low ? 1 + position : position < high ? 0 : 1 + low + position - high;
    }
    // Whether a tap lies in the image at the positions of a kind.
    __host__ __device__ constexpr bool valid(int64_t kind, int64_t tap) const {
        if (kind == 0) return true;
        const int64_t position = kind <= low ? kind - 1 : high + kind - 1 - low;
        const int64_t pixel = position * stride - pad + tap * dilation;
        return pixel >= 0 && pixel < size;
    }
};

struct BorderKinds {
    BorderAxis y, x;

    explicit BorderKinds(const ConvGeometry& g)
        : y(BorderAxis::of(g.height, g.kernel_h, g.stride_h, g.pad_h, g.dilation_h, g.out_height())),
          x(BorderAxis::of(g.width, g.kernel_w, g.stride_w, g.pad_w, g.dilation_w, g.out_width())) {}

    __host__ __device__ constexpr int64_t count() const { return y.kinds() * x.kinds(); }
    // Of a pixel of one image.
    __host__ __device__ constexpr int64_t of(int64_t pixel) const {
        return y.kind(pixel / x.out) * x.kinds() + x.kind(pixel % x.out);
    }
    __host__ __device__ constexpr bool valid(int64_t kind, int64_t tap_y, int64_t tap_x) const {
        return y.valid(kind / x.kinds(), tap_y) && x.valid(kind % x.kinds(), tap_x);
    }
};

}  // namespace bnnkit
