// A layer on arrays: a convolution of bits whose reduction is cut into arrays, each with a converter for its partial
// sums.
//
//   partial sum of an array = sum over its rows of x * w                       (integers; padded taps contribute 0)
//   sum                     = sum over arrays of level[number of thresholds t with partial sum >= t]
//   value                   = scale * sum + base + bias                         (in double, rounded once)
//
// Activations and weights of several bits are planes of +-1: plane p counts 2^p, or 1 where planes are a thermometer.
#pragma once

#include "finish.h"

namespace bnn {

struct ArrayLayer {
    Shape in{};            // of the bits it reads
    bool flatten = false;  // it reads all values of an image as one pixel's channels, in the order channel, row, column
    Kernel kernel;
    int outputs = 0;
    // Input channels are cut into chunks. An array holds a chunk under every kernel tap or (tap) a chunk under one of
    // them.
    int channels_per_array = 0;
    bool tap = false;
    int x_planes = 1, w_planes = 1;
    bool x_thermometer = false, w_thermometer = false;
    // [groups of kLanes outputs][w_planes][arrays][array_words][kLanes]: bit t * channels_per_array + c of an array
    // for tap t and channel c of its chunk, or (tap) bit c
    const uint64_t* weights = nullptr;
    int threshold_count = 0;              // 0: partial sums are not converted
    const int32_t* thresholds = nullptr;  // ascending
    const int32_t* levels = nullptr;      // one more than thresholds
    double scale = 1, base = 0;
    const float* bias = nullptr;
    // Precision gates, for activations of two planes: the sum is 2 * high + (high >= gate ? low : 0), where high and
    // low are the sums of plane 1 and of plane 0.
    const int32_t* gate = nullptr;

    constexpr Shape read() const { return flatten ? Shape{in.channels * in.pixels(), 1, 1} : in; }
    constexpr int chunks() const { return ceil_div(read().channels, channels_per_array); }
    constexpr int chunk_words() const { return words_for(channels_per_array); }
    constexpr int pixel_words() const { return chunks() * chunk_words(); }  // each chunk in words of its own
    constexpr int arrays() const { return tap ? kernel.taps() * chunks() : chunks(); }
    constexpr int array_words() const { return tap ? chunk_words() : words_for(kernel.taps() * channels_per_array); }
    constexpr int row_words() const { return arrays() * array_words(); }
    constexpr bool reads_in_place() const { return chunks() == 1 && !flatten; }
    constexpr int groups() const { return ceil_div(outputs, kLanes); }
};

constexpr std::size_t weight_words(const ArrayLayer& l) {
    return std::size_t{kLanes} * l.groups() * l.w_planes * l.row_words();
}

template <class Finish>
constexpr Needs needs(const ArrayLayer& l, const Finish&) {
    const int copied = l.reads_in_place() ? 0 : l.x_planes * l.read().pixels() * l.pixel_words();
    const int words = copied + l.pixel_words() + (l.x_planes + 1) * l.row_words() + (l.flatten ? l.read().words() : 0);
    return {static_cast<std::size_t>(words), static_cast<std::size_t>(padded(l.outputs) + l.arrays()),
            static_cast<std::size_t>(3 * l.outputs)};
}

void run(const ArrayLayer& layer, const uint64_t* x, const Finish& finish, const Output<float>& out, const Scratch& s);
void run(const ArrayLayer& layer, const uint64_t* x, const IntegerFinish& finish, const Output<int32_t>& out,
         const Scratch& s);

}  // namespace bnn
