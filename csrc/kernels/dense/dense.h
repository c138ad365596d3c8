// dense: a convolution in full precision whose sums are made in double, product after product in one given order.
//
//   y = float(sum over taps, row by row of the kernel, and within a tap over channels, of x * w  + bias)
//
// A product of two floats is exact in double, so the order alone decides the result, and this is the one that packed networks
// add in (csrc/deploy): a GPU gives their logits bit for bit.
#pragma once

#include "../../core/cuda/device.h"
#include "../../core/geometry.h"

namespace bnnkit {

struct DenseArgs {
    ConvGeometry geometry;        // one group, no dilation
    const float* x = nullptr;     // [batch][channels][height][width]
    const float* w = nullptr;     // [out_channels][channels][kernel_h][kernel_w]
    const float* bias = nullptr;  // [out_channels], or none
    float* y = nullptr;           // [batch][out_channels][out_height][out_width]
};

void dense(const DenseArgs& args);

void dense_reference(const DenseArgs& args);
void dense_cuda(const DenseArgs& args, const Device& device);  // all pointers are the device's

}  // namespace bnnkit
