// What happens to a layer's values before they leave it: shortcut, normalization, quantization.
#pragma once

#include "shape.h"

namespace bnn {

// Where a layer's results go. Pointers that are null: none.
template <class T>
struct Output {
    T* values;          // [pixels][channels]
    uint64_t* bits;     // [planes][pixels][words of a pixel]
    const T* residual;  // [pixels][channels], added
};

// How values become codes: a code is the number of thresholds passed, v > t where `strict`, else v >= t. Plane p is
// bit p of the code, or (thermometer) whether threshold p is passed.
struct Codes {
    int planes = 0;  // 0: none are kept
    bool thermometer = false, strict = true;
    int count = 0;  // of the thresholds
    const float* thresholds = nullptr;
    // In place of everything else, where only codes of integer sums matter: [count][channels], and the code of a sum is
    // the number of thresholds t with sum >= t, or -sum where `flip` is -1 instead of 0.
    const int32_t* sum_thresholds = nullptr;
    const int32_t* flip = nullptr;
};

// What happens to values v, in this order; all parameters per channel, null: left out.
struct Finish {
    Shape out{};                                                 // after pooling
    bool pool = false;                                           // the largest of 2 x 2 pixels
    const float *inner_scale = nullptr, *inner_shift = nullptr;  // v = v * scale + shift
    // v += bias_in; v = v > 0 ? v : v * slope; v += bias_out
    const float *bias_in = nullptr, *slope = nullptr, *bias_out = nullptr;
    // v += residual
    const float *scale = nullptr, *shift = nullptr;  // v = v * scale + shift
    bool clamp = false;                              // to [-1, 1]
    // v is kept where `values` is not null
    Codes codes;
};

// The same for networks of additions and bit operations: values are integers that stand for value / one.
struct IntegerFinish {
    Shape out{};
    double one = 0;                  // float values become rint(v * one), at most of the magnitude
    const int32_t* bound = nullptr;  // [channels]
    // Sums of signs become values: the sum over digits of sign * ((v << lift) >> shift), shifts rounding down.
    int digits = 0, lift = 0;
    const int32_t *shifts = nullptr, *signs = nullptr;  // [digits][channels]
    // v += residual; v += in; v = v < 0 ? v >> right << left : v; v += out
    const int32_t *bias_in = nullptr, *right = nullptr, *left = nullptr, *bias_out = nullptr;
    const int32_t* thresholds = nullptr;  // keep the bit v >= threshold
};

// Each takes all channels of one pixel and may change them.
void finish_values(const Finish& finish, float* v, int pixel, const Output<float>& out);
void finish_sums(const Finish& finish, const int32_t* sums, int pixel, const Output<float>& out);  // codes alone
void finish_integers(const IntegerFinish& finish, int32_t* v, int pixel, const Output<int32_t>& out);

// Calls each(pixel, row, column) for all pixels.
template <class Each>
void for_each_pixel(const Shape& out, const Each& each) {
    for (int row = 0, pixel = 0; row < out.height; ++row)
        for (int column = 0; column < out.width; ++column, ++pixel) each(pixel, row, column);
}

// The values of one output pixel: those that values_at(row, column, to) writes, or where 2 x 2 pixels are pooled the
// largest of four. `rows` has room for the channels three times.
template <class ValuesAt>
float* pooled(const Finish& finish, int row, int column, float* rows, const ValuesAt& values_at) {
    float *upper = rows, *lower = rows + finish.out.channels, *right = lower + finish.out.channels;
    if (!finish.pool) {
        values_at(row, column, upper);
        return upper;
    }
    const auto keep_larger = [&](float* v, const float* other) {
        for (int c = 0; c < finish.out.channels; ++c) v[c] = v[c] > other[c] ? v[c] : other[c];
    };
    values_at(2 * row, 2 * column, upper);
    values_at(2 * row, 2 * column + 1, right);
    keep_larger(upper, right);
    values_at(2 * row + 1, 2 * column, lower);
    values_at(2 * row + 1, 2 * column + 1, right);
    keep_larger(lower, right);
    keep_larger(upper, lower);
    return upper;
}

// From sums of signs to values, and from floats to integers.
void shift_and_add(const IntegerFinish& finish, int32_t* v);
void to_integers(const IntegerFinish& finish, const float* v, int32_t* integers);

}  // namespace bnn
