#include <algorithm>

#include "../../core/counter_reference.h"
#include "bit_faults.h"

namespace bnnkit {

void bit_faults_reference(const BitFaultsArgs& a) {
    std::copy_n(a.bits, a.words(), a.read);
    for (int plane = 0; plane < a.planes; ++plane) {
        if (a.plane >= 0 && plane != a.plane) continue;
        for (int64_t image = 0; image < a.images; ++image)
            for (int64_t pixel = 0; pixel < a.pixels; ++pixel)
                for (int64_t channel = 0; channel < a.layout.channels; ++channel) {
                    const uint64_t h = hashed(hashed(a.state[image], plane), channel * a.pixels + pixel);
                    if (h >= a.limit) continue;
                    const int64_t chunk = channel / a.layout.channels_per_array;
                    const int64_t within = channel % a.layout.channels_per_array;
                    const int64_t slot = chunk * a.layout.slot_words() + within / kWordBits;
                    uint64_t& word =
                        a.read[((plane * a.images + image) * a.pixels + pixel) * a.layout.pixel_words() + slot];
                    const uint64_t place = uint64_t{1} << (within % kWordBits);
                    const bool bit = word & place;
                    bool value = !bit;
                    if (a.kind == BitFault::stuck0) value = false;
                    if (a.kind == BitFault::stuck1) value = true;
                    if (a.kind == BitFault::random) value = hashed(h, 1) % 2 == 1;
                    word = value ? word | place : word & ~place;
                    a.counts[0] += 1;
                    a.counts[1] += value != bit;
                }
    }
}

}  // namespace bnnkit
