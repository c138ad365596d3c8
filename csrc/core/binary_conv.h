// Operands of a convolution of bit planes, as every kernel on packed activations and weights receives them.
#pragma once

#include "geometry.h"
#include "parallel.h"

namespace bnnkit {

struct BinaryConv {
    ConvGeometry geometry;
    ArrayLayout layout;
    const uint64_t* x = nullptr;  // [x_planes][batch][height][width][groups][layout.pixel_words()]
    const uint64_t* w = nullptr;  // [w_planes][out_channels][layout.row_words()]
    int x_planes = 1, w_planes = 1;
    bool x_thermometer = false, w_thermometer = false;  // planes of equal weight instead of powers of two
    // x is [x_planes][layout.chunks()][batch][height][width] instead: for one group with slots of one word.
    bool x_by_chunk = false;
    Threads threads = {};

    constexpr int64_t x_pixel_words() const { return geometry.groups * layout.pixel_words(); }
    constexpr int64_t x_plane_words() const {
        return geometry.batch * geometry.height * geometry.width * x_pixel_words();
    }
    constexpr int64_t w_plane_words() const { return geometry.out_channels * layout.row_words(); }
    constexpr int x_shift(int plane) const { return x_thermometer ? 0 : plane; }
    constexpr int w_shift(int plane) const { return w_thermometer ? 0 : plane; }
    // Largest magnitude of one product in integer units: the sum of plane weights of x times that of w.
    constexpr int64_t product_bound() const {
        const int64_t qx = x_thermometer ? x_planes : (1 << x_planes) - 1;
        const int64_t qw = w_thermometer ? w_planes : (1 << w_planes) - 1;
        return qx * qw;
    }
};

}  // namespace bnnkit
