// A convolution of values in full precision. Products of floats are exact in double and are added in the order of the
// kernel's taps and their channels; the sum and the bias are rounded to float once.
#pragma once

#include "finish.h"

namespace bnn {

struct DenseLayer {
    Shape in{};
    Kernel kernel;
    int outputs = 0;
    const float* weights = nullptr;  // [groups of kLanes outputs][taps][channels][kLanes]
    const float* bias = nullptr;
};

constexpr std::size_t weight_count(const DenseLayer& l) {
    return std::size_t{1} * padded(l.outputs) * l.kernel.taps() * l.in.channels;
}

template <class Finish>
constexpr Needs needs(const DenseLayer& l, const Finish&) {
    const std::size_t outputs = l.outputs;
    return {0, outputs, 3 * outputs};
}

void run(const DenseLayer& layer, const float* x, const Finish& finish, const Output<float>& out, const Scratch& s);
void run(const DenseLayer& layer, const float* x, const IntegerFinish& finish, const Output<int32_t>& out,
         const Scratch& s);

}  // namespace bnn
