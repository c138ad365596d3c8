// Layers without weights, and sums of values with signs.
#pragma once

#include "finish.h"

namespace bnn {

// Bytes become values: values[channel][byte] of an image [channels][height][width]; with an output of one pixel every
// byte is a channel of it.
struct ImageLayer {
    Shape in{};
    const float* values = nullptr;
};

// Bytes become bits: a channel's are a thermometer of `planes` bits, the lowest set_bits[byte] of them set.
struct ThermometerLayer {
    Shape in{};
    int planes = 0;
    const int32_t* set_bits = nullptr;
};

// Values become level_values by the number of level_thresholds they reach, if there are any; then a window moves over
// the pixels and keeps the largest value or (2 x 2 only) the mean, which integers round down; then all channels are
// repeated.
struct WindowLayer {
    Shape in{};
    int size = 1, stride = 1, pad = 0, repeats = 1;
    bool maximum = false;
    int level_count = 0;  // of level_values, one more than thresholds
    const float *level_thresholds = nullptr, *level_values = nullptr;
};

// Integer values, without their `drop` lowest bits, added with a sign for every output: a 1x1 convolution.
struct SignedSumLayer {
    Shape in{};
    int outputs = 0, drop = 0;
    const uint64_t* signs = nullptr;  // [channels][words of the outputs], bit 1 is +1
};

// The mean over all pixels, in double, rounded once; of integers that stand for value / one.
struct MeanLayer {
    Shape in{};
    double one = 0;
};

// A pixel's channels; of sums with signs whole words of outputs.
template <class Layer, class Finish>
constexpr Needs needs(const Layer&, const Finish& f) {
    const std::size_t channels = f.out.channels;
    return {0, channels, channels};
}
template <class Finish>
constexpr Needs needs(const SignedSumLayer& l, const Finish&) {
    const std::size_t outputs = words_for(l.outputs) * kWordBits;
    return {0, outputs, 0};
}

void run(const ImageLayer& layer, const uint8_t* image, const Finish& finish, const Output<float>& out,
         const Scratch& s);
void run(const ThermometerLayer& layer, const uint8_t* image, uint64_t* bits);
void run(const WindowLayer& layer, const float* x, const Finish& finish, const Output<float>& out, const Scratch& s);
void run(const WindowLayer& layer, const int32_t* x, const IntegerFinish& finish, const Output<int32_t>& out,
         const Scratch& s);
void run(const SignedSumLayer& layer, const int32_t* x, const IntegerFinish& finish, const Output<int32_t>& out,
         const Scratch& s);
void run(const MeanLayer& layer, const float* x, const Finish& finish, const Output<float>& out, const Scratch& s);
void run(const MeanLayer& layer, const int32_t* x, const Finish& finish, const Output<float>& out, const Scratch& s);

}  // namespace bnn
