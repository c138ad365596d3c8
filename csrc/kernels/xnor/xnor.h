// xnor: matrix product and convolution of +-1 values packed as bits.
//
//   y = valid - 2 * popcount((x ^ w) & valid_bits) + bias     per output pixel and channel, summed over its patch
//
// The sum is an exact integer of at most 2^24, so float32 holds it exactly too; padded taps contribute 0. One plane on each
// side; the layout has one array per group (no cuts).
#pragma once

#include "../../core/binary_conv.h"
#include "../../core/cuda/device.h"

namespace bnnkit {

struct XnorArgs {
    BinaryConv conv;
    const float* bias = nullptr;  // [out_channels], or none
    float* y = nullptr;           // [batch][out_channels][out_height][out_width]
};

void xnor(const XnorArgs& args);

void xnor_reference(const XnorArgs& args);
void xnor_neon(const XnorArgs& args);
void xnor_avx2(const XnorArgs& args);
void xnor_avx512(const XnorArgs& args);
void xnor_amx(const XnorArgs& args);

// All pointers are the device's.
void xnor_cuda(const XnorArgs& args, const Device& device);
int64_t xnor_cuda_workspace(const XnorArgs& args);

}  // namespace bnnkit
