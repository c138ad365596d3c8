// image_faults: bytes as a memory gives them back in which one bit of each, or of some of them, is faulty.
//
//   faulty(i, p) = mix(place[i], p) < limit          a number of the byte's own, so a higher limit keeps what a lower one chose
//   value        = the byte's bit `source`, or truth[2 * bit + random(i, p)]      random: bit p % 32 of mix(value[i], p / 32)
//   read         = stored ^ ((stored[bit] ^ value) & faulty) << bit
//
// mix(h, k) is one step of bnnkit.counter's hash, its states hashed beforehand: what is faulty does not depend on the batch.
#pragma once

#include <cstdint>

#include "../../core/cuda/device.h"

namespace bnnkit {

struct ImageFaultsArgs {
    const uint8_t* stored = nullptr;  // [images][bytes]
    uint8_t* read = nullptr;          // [images][bytes]
    int64_t* counts = nullptr;        // [2]: faulty bits, bits read wrongly; added to
    const int64_t* place = nullptr;   // [images], states of 32 bits
    const int64_t* value = nullptr;   // [images]
    int64_t images = 0, bytes = 0;
    int bit = 0;
    int source = -1;        // the bit that is copied, or none
    uint8_t truth[4] = {};  // what is read for (bit, random)
    uint64_t limit = 0;     // 0 .. 2^32
};

void image_faults(const ImageFaultsArgs& args);

void image_faults_reference(const ImageFaultsArgs& args);
void image_faults_cuda(const ImageFaultsArgs& args, const Device& device);  // all pointers are the device's

}  // namespace bnnkit
