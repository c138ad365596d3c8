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

// The two algorithms of avx2 and avx512: counting_engine.h and vertical_engine.h.
void xnor_avx2_by_counting(const XnorArgs& args);
void xnor_avx512_by_counting(const XnorArgs& args);
void xnor_avx2_vertically(const XnorArgs& args);  // at most kMostVerticalInputs
void xnor_avx512_vertically(const XnorArgs& args);
constexpr int64_t kMostVerticalInputs = 32767;  // sums are computed in 16 bits

// Turning patches, listing weights and finishing sums take time that many outputs, patches and inputs share.
struct VerticalMinimum {
    int64_t inputs, patches, outputs = 16;

    constexpr bool reached_by(const BinaryConv& conv) const {
        const int64_t inputs_here = conv.layout.taps * conv.layout.channels;
        return inputs_here >= inputs && inputs_here <= kMostVerticalInputs &&
               conv.geometry.group_outputs() >= outputs && conv.geometry.batch * conv.geometry.out_pixels() >= patches;
    }
};
constexpr VerticalMinimum kVerticalAvx2{256, 1024}, kVerticalAvx512{1024, 2048};

// Sums that stay integers, without bias.
struct XnorIntegersArgs {
    BinaryConv conv;
    int bits = 32;      // 16 where the sums fit, else 32
    void* y = nullptr;  // int32_t or int16_t, [batch][out_channels][out_height][out_width]
};

// Sums that become bits at once: the activations of a following layer, packed as `pack` packs them in one chunk.
struct XnorBitsArgs {
    BinaryConv conv;                      // one group, or groups of a multiple of 8 outputs
    const int32_t* thresholds = nullptr;  // [out_channels]: the bit is (flip ? -sum : sum) >= threshold
    const int32_t* flip = nullptr;        // [out_channels], 0 or -1
    uint64_t* y = nullptr;                // [batch][out_pixels][words_for(out_channels)], zeroed before

    int64_t words() const { return words_for(conv.geometry.out_channels); }
};

void xnor_integers(const XnorIntegersArgs& args);
void xnor_bits(const XnorBitsArgs& args);

// All pointers are the device's.
void xnor_cuda(const XnorArgs& args, const Device& device);
void xnor_integers_cuda(const XnorIntegersArgs& args, const Device& device);
void xnor_bits_cuda(const XnorBitsArgs& args, const Device& device);
int64_t xnor_cuda_workspace(const BinaryConv& conv);

}  // namespace bnnkit
