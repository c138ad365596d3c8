// Random convolutions that are small enough for the oracles and odd enough for the kernels.
#pragma once

#include "dense_conv.h"

struct Limits {
    int64_t products = 150000;  // multiply-accumulates of the whole convolution, planes counted
    bool one_plane = false, one_array = false;
};

inline int64_t random_channels(Random& random) {
    static constexpr int64_t kEdges[] = {63, 64, 65, 126, 127, 128, 129, 130, 192, 255, 256, 257, 300};
    return random.chance(35)   ? random.any_of(kEdges)
           : random.chance(50) ? random.between(1, 20)
                               : random.between(1, 160);
}

inline void random_planes(Random& random, Operand& operand) {
    operand.thermometer = random.chance(20);
    operand.planes = operand.thermometer ? 2 : random.chance(40) ? 1 : static_cast<int>(random.between(1, 4));
}

inline void random_kernel(Random& random, bnnkit::ConvGeometry& g) {
    if (random.chance(20)) return;  // 1x1, stride 1, no padding: pixels need no gathering
    g.kernel_h = random.between(1, 5), g.kernel_w = random.chance(60) ? g.kernel_h : random.between(1, 5);
    g.stride_h = random.between(1, 3), g.stride_w = random.chance(60) ? g.stride_h : random.between(1, 3);
    g.pad_h = random.between(0, 3), g.pad_w = random.chance(60) ? g.pad_h : random.between(0, 3);
    g.dilation_h = random.chance(70) ? 1 : random.between(1, 3);
    g.dilation_w = random.chance(70) ? g.dilation_h : random.between(1, 3);
}

inline int64_t smallest_image(int64_t kernel, int64_t pad, int64_t dilation) {
    return std::max<int64_t>(1, dilation * (kernel - 1) + 1 - 2 * pad);
}

// Spends what the limit leaves on pixels or on output channels.
inline void random_extent(Random& random, bnnkit::ConvGeometry& g, int64_t budget) {
    g.height = smallest_image(g.kernel_h, g.pad_h, g.dilation_h) + random.between(0, 12);
    g.width = smallest_image(g.kernel_w, g.pad_w, g.dilation_w) + random.between(0, 12);
    g.batch = random.between(1, 4);
    int64_t outputs = random.chance(30) ? random.between(1, 100) : random.between(1, 24);
    const auto too_large = [&] { return g.batch * g.out_pixels() * outputs * g.groups > budget; };
    while (too_large()) {
        if (random.chance(40) && outputs > 1)
            outputs = (outputs + 1) / 2;
        else if (random.chance(50) && g.batch > 1)
            --g.batch;
        else if (g.height > smallest_image(g.kernel_h, g.pad_h, g.dilation_h))
            --g.height;
        else if (g.width > smallest_image(g.kernel_w, g.pad_w, g.dilation_w))
            --g.width;
        else if (outputs == 1 && g.batch == 1)
            break;
    }
    g.out_channels = outputs * g.groups;
}

inline DenseConv random_conv(Random& random, const Limits& limits = {}) {
    DenseConv dense;
    auto& g = dense.geometry;
    if (!limits.one_plane) {
        random_planes(random, dense.x);
        random_planes(random, dense.w);
    }
    random_kernel(random, g);
    g.groups = random.chance(60) ? 1 : random.between(1, 4);
    const int64_t per_group = random_channels(random);
    g.channels = per_group * g.groups;
    const int64_t row = per_group * g.taps() * dense.x.planes * dense.w.planes;
    random_extent(random, g, std::max<int64_t>(1, limits.products / row));
    dense.tap = !limits.one_array && random.chance(40);
    dense.channels_per_array = limits.one_array || random.chance(10) ? per_group : random.between(1, per_group);
    if (!limits.one_array && random.chance(30))  // 128 rows, the usual array
        dense.channels_per_array = std::min(per_group, std::max<int64_t>(1, 128 / (dense.tap ? 1 : g.taps())));
    dense.fill(random);
    return dense;
}

// A matrix product [m, k] x [n, k] with `rows` word lines per array.
inline DenseConv matrix_product(Random& random, int64_t m, int64_t n, int64_t k, int64_t rows) {
    DenseConv dense;
    dense.geometry.batch = m;
    dense.geometry.channels = k;
    dense.geometry.out_channels = n;
    dense.channels_per_array = std::min(rows, k);
    dense.fill(random);
    return dense;
}
