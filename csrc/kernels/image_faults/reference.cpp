#include "image_faults.h"

#include "../../core/counter_reference.h"

namespace bnnkit {
void image_faults_reference(const ImageFaultsArgs& a) {
    for (int64_t image = 0; image < a.images; ++image) {
        for (int64_t p = 0; p < a.bytes; ++p) {
            const int stored = a.stored[image * a.bytes + p], bit = stored >> a.bit & 1;
            const int random = static_cast<int>(hashed(a.value[image], p / 32) >> (p % 32) & 1);
            const int value = a.source >= 0 ? stored >> a.source & 1 : a.truth[2 * bit + random];
            const bool faulty = hashed(a.place[image], p) < a.limit, wrong = faulty && value != bit;
            a.read[image * a.bytes + p] = static_cast<uint8_t>(wrong ? stored ^ 1 << a.bit : stored);
            a.counts[0] += faulty;
            a.counts[1] += wrong;
        }
    }
}

}  // namespace bnnkit
