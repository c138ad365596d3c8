// bit_faults: packed activations as a layer reads them where some of their bits are faulty.
//
//   h        = mix(mix(state[image], plane), element)        element = (channel * height + row) * width + column
//   hit      = h < limit                                     in the given plane, or in all of them
//   read     = hit ? (flip: !bit, stuck: 0 or 1, random: lowest bit of mix(h, 1)) : bit
//
// mix is one step of core/counter.h's hash: what is faulty depends on the image's number (in its state) and on the place alone, not
// on the layout of the bits, the batch or the device.
#pragma once

#include <cstdint>

#include "../../core/cuda/device.h"
#include "../../core/geometry.h"

namespace bnnkit {

enum class BitFault { flip, stuck0, stuck1, random };

struct BitFaultsArgs {
    const uint64_t* bits = nullptr;  // [planes][images][pixels][pixel_words], chunks in slots as `pack` writes them
    uint64_t* read = nullptr;        // the same shape
    int64_t* counts = nullptr;       // [2]: bits that are hit, and those read otherwise; added to
    const int64_t* state = nullptr;  // [images], 32 bits
    int64_t images = 0, pixels = 1;  // pixels: height * width
    int planes = 1;
    ArrayLayout layout;  // of one group; channels and channels_per_array count
    BitFault kind = BitFault::flip;
    uint64_t limit = 0;  // 0 .. 2^32
    int plane = -1;      // the only one with faults; -1: all of them

    constexpr int64_t words() const { return planes * images * pixels * layout.pixel_words(); }
};

void bit_faults(const BitFaultsArgs& args);

void bit_faults_reference(const BitFaultsArgs& args);
void bit_faults_cuda(const BitFaultsArgs& args, const Device& device);  // all pointers are the device's

}  // namespace bnnkit
