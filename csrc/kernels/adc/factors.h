// The gradient of an ADC convolution as two batched matrix products, which a GPU's library multiplies best.
//
// For every array s, with the sums recomputed from the packed bits and never stored:
//   g[s][pixel][output] = gy * slope(ps)        x[s][pixel][line], w[s][output][line]: the integers on the word lines
// Then  patches[s] = g[s] w[s]  and  rows[s] = g[s]^T x[s], and `fold` adds them to the gradients:
//   gx += w_unit * patches of every tap that reads the pixel        gw = x_unit * rows
// The caller takes as many arrays at a time as it has memory for; their order is the order of addition, so results do not
// depend on anything but that number.
#pragma once

#include "adc.h"

namespace bnnkit {

struct AdcFactorsArgs {
    BinaryConv conv;
    const float* slopes = nullptr;  // as in AdcBackwardArgs
    int64_t slope_bound = 0;
    const float* gy = nullptr;  // [batch][out_channels][out_height][out_width]
    int64_t first_array = 0, arrays = 1;
    bool bfloat16 = false;  // what g, x and w are made of; else float32. x and w are exact in both.
    void* g = nullptr;      // [groups][arrays][batch * out_pixels][group_outputs]
    void* x = nullptr;      // [groups][arrays][batch * out_pixels][lines]
    void* w = nullptr;      // [groups][arrays][group_outputs][lines]

    // Word lines of an array in x and w: whole steps of 128; those without a row hold anything.
    int64_t lines() const { return ceil_div(conv.layout.array_words(), 2) * 128; }
};

struct AdcFoldArgs {
    ConvGeometry geometry;
    ArrayLayout layout;
    int64_t first_array = 0, arrays = 1, lines = 0;
    float x_unit = 1, w_unit = 1;
    const float* patches = nullptr;  // [groups][arrays][batch * out_pixels][lines]
    const float* rows = nullptr;     // [groups][arrays][group_outputs][lines]
    float* gx = nullptr;             // [batch][channels][height][width], added to
    float* gw = nullptr;  // [out_channels][group_channels][kernel_h][kernel_w], the elements of these arrays set
};

void adc_factors_cuda(const AdcFactorsArgs& args, const Device& device);
int64_t adc_factors_cuda_workspace(const AdcFactorsArgs& args);
void adc_fold_cuda(const AdcFoldArgs& args, const Device& device);

}  // namespace bnnkit
