// Sizes of what passes between layers. The channels of a pixel lie together; pixels go row by row.
#pragma once

#include <cstddef>

#include "bits.h"

namespace bnn {

struct Shape {
    int channels, height, width;

    constexpr int pixels() const { return height * width; }
    constexpr int words() const { return words_for(channels); }  // per pixel and plane
};

// How a kernel moves over an image.
struct Kernel {
    int height = 1, width = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;

    constexpr int taps() const { return height * width; }
    constexpr int out_height(const Shape& in) const { return (in.height + 2 * pad_h - height) / stride_h + 1; }
    constexpr int out_width(const Shape& in) const { return (in.width + 2 * pad_w - width) / stride_w + 1; }
};

// Weights are stored for so many outputs side by side, which are computed together.
constexpr int kLanes = 16;

constexpr int padded(int outputs) { return ceil_div(outputs, kLanes) * kLanes; }

// Elements of scratch memory.
struct Needs {
    std::size_t words, integers, floats;
};

// Room to work in, for the layer with the largest needs.
struct Scratch {
    uint64_t* words;
    int32_t* integers;
    float* floats;
};

}  // namespace bnn
