#include "../../core/counter.h"
#include "../../core/cuda/launch.h"
#include "../../core/cuda/patch_word.h"
#include "bit_faults.h"

namespace bnnkit {
namespace {

__device__ uint64_t value_of(BitFault kind, uint64_t bit, uint32_t hash) {
    switch (kind) {
        case BitFault::flip: return bit ^ 1;
        case BitFault::stuck0: return 0;
        case BitFault::stuck1: return 1;
        case BitFault::random: break;
    }
    return counter_step(hash, 1u) & 1;
}

// A thread per word: its bits are channels of one pixel, one after the other.
__global__ void read_words(BitFaultsArgs a) {
    const int64_t pixel_words = a.layout.pixel_words(), slot_words = a.layout.slot_words();
    int hits = 0, wrong = 0;
    for_each_item(a.words(), [&](int64_t i) {
        const int64_t word = i % pixel_words, pixel = i / pixel_words % a.pixels;
        const int64_t image = i / pixel_words / a.pixels % a.images;
        const int plane = static_cast<int>(i / pixel_words / a.pixels / a.images);
        uint64_t bits = a.bits[i];
        if (a.plane < 0 || plane == a.plane) {
            const uint64_t stored = bits;
            const int64_t chunk = word / slot_words, first = word % slot_words * kWordBits;
            const int64_t count = std::min(int64_t{kWordBits}, a.layout.chunk_channels(chunk) - first);
            const int64_t channel = chunk * a.layout.channels_per_array + first;
            const uint32_t state = counter_step(static_cast<uint32_t>(a.state[image]), static_cast<uint32_t>(plane));
            for (int64_t b = 0; b < count; ++b) {
                const auto element = static_cast<uint32_t>((channel + b) * a.pixels + pixel);
                const uint32_t hash = counter_step(state, element);
                if (hash >= a.limit) continue;
                const uint64_t bit = bits >> b & 1;
                bits ^= (bit ^ value_of(a.kind, bit, hash)) << b;
                ++hits;
            }
            wrong += __popcll(bits ^ stored);
        }
        a.read[i] = bits;
    });
    add_counts(a.counts, hits, wrong);
}

}  // namespace

void bit_faults_cuda(const BitFaultsArgs& args, const Device& device) {
    launch(read_words, blocks_for(args.words()), kThreads, 0, device.stream, args);
}

}  // namespace bnnkit
