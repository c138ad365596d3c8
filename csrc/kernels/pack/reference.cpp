#include <algorithm>
#include <cmath>

#include "pack.h"

namespace bnnkit {

void pack_reference(const PackArgs& a) {
    std::fill_n(a.out, a.planes * a.plane_words(), uint64_t{0});
    const int64_t per_group = a.group_channels();
    for (int64_t image = 0; image < a.batch; ++image) {
        for (int64_t pixel = 0; pixel < a.pixels; ++pixel) {
            for (int64_t channel = 0; channel < a.channels; ++channel) {
                const float v = a.channels_last ? a.x[(image * a.pixels + pixel) * a.channels + channel]
                                                : a.x[(image * a.channels + channel) * a.pixels + pixel];
                if (std::isnan(v)) *a.has_nan = true;
                int code = 0;
                for (int j = 0; j < a.threshold_count; ++j)
                    code += a.strict ? v > a.thresholds[j] : v >= a.thresholds[j];
                const int64_t group = channel / per_group, within = channel % per_group;
                const int64_t chunk = within / a.channels_per_array, bit = within % a.channels_per_array;
                const int64_t slot = (group * a.chunks() + chunk) * a.slot_words() + bit / kWordBits;
                for (int p = 0; p < a.planes; ++p) {
                    const bool set = a.thermometer ? code > p : (code >> p) & 1;
                    uint64_t* pixel_words = a.out + p * a.plane_words() + (image * a.pixels + pixel) * a.pixel_words();
                    pixel_words[slot] |= uint64_t{set} << (bit % kWordBits);
                }
            }
        }
    }
}

}  // namespace bnnkit
