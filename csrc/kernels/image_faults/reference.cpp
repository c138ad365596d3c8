#include "image_faults.h"

namespace bnnkit {
namespace {

// MurmurHash3's finalizer after adding a key.
uint64_t hashed(int64_t state, int64_t key) {
    constexpr uint64_t kWord = uint64_t{1} << 32;
    uint64_t h = ((static_cast<uint64_t>(state) % kWord ^ static_cast<uint64_t>(key) % kWord) + 0x9E3779B9) % kWord;
    h = (h ^ h / 65536) * 0x85EBCA6B % kWord;
    h = (h ^ h / 8192) * 0xC2B2AE35 % kWord;
    return h ^ h / 65536;
}

}  // namespace

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
