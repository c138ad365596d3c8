// pack: floats to bit planes, in the pixel layout that convolutions gather from.
//
//   code(v) = number of thresholds that v passes          (v > t if strict, else v >= t; thresholds ascending)
//   plane p = bit p of code                               (values of 2^planes levels: sum of planes weighted 2^p)
//   plane p = [v passes threshold p]                      (thermometer: ternary as two planes of equal weight)
//
// out[p][image][pixel][group][chunk] is a slot of whole words holding the chunk's channels (see ArrayLayout); unused bits
// are 0. Refuses nothing by itself: `has_nan` tells the caller that some value was not a number.
#pragma once

#include "../../core/cuda/device.h"
#include "../../core/geometry.h"
#include "../../core/parallel.h"

namespace bnnkit {

constexpr int kMaxPlanes = 8;
constexpr int kMaxThresholds = 255;

struct PackArgs {
    const float* x = nullptr;
    int64_t batch = 1, channels = 1, pixels = 1;
    bool channels_last = false;  // x is [batch][pixels][channels] instead of [batch][channels][pixels]
    int64_t groups = 1, channels_per_array = 1;
    float thresholds[kMaxThresholds] = {};
    int threshold_count = 1;
    bool strict = true;
    int planes = 1;
    bool thermometer = false;
    uint64_t* out = nullptr;
    bool* has_nan = nullptr;  // only ever set to true
    Threads threads = {};

    constexpr int64_t group_channels() const { return channels / groups; }
    constexpr int64_t chunks() const { return ceil_div(group_channels(), channels_per_array); }
    constexpr int64_t slot_words() const { return words_for(channels_per_array); }
    constexpr int64_t pixel_words() const { return groups * chunks() * slot_words(); }
    constexpr int64_t plane_words() const { return batch * pixels * pixel_words(); }
};

void pack(const PackArgs& args);

// Rows of packed weights: from the pixel layout of `planes` planes of [out_channels] images of kernel_h x kernel_w pixels
// to out[p][out_channel][layout.row_words()], the layout that a gathered patch has.
void arrange_kernels(const uint64_t* pixels, int planes, const ConvGeometry& geometry, const ArrayLayout& layout,
                     uint64_t* out);

void pack_reference(const PackArgs& args);
void pack_neon(const PackArgs& args);
void pack_avx2(const PackArgs& args);
void pack_avx512(const PackArgs& args);

// All pointers are the device's; `has_nan` may be `noted_nan_cuda()`, memory of the host that every device can write to.
bool* noted_nan_cuda();  // one per process, false at first
void pack_cuda(const PackArgs& args, const Device& device);
void arrange_kernels_cuda(const uint64_t* pixels, int planes, const ConvGeometry& geometry, const ArrayLayout& layout,
                          uint64_t* out, const Device& device);

}  // namespace bnnkit
