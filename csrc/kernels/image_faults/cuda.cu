#include "../../core/counter.h"
#include "../../core/cuda/launch.h"
#include "image_faults.h"

namespace bnnkit {
namespace {

__global__ void read_bytes(ImageFaultsArgs a) {
    int faulty_bits = 0, wrong_bits = 0;
    for_each_item(a.images * a.bytes, [&](int64_t i) {
        const int64_t image = i / a.bytes;
        const auto p = static_cast<uint32_t>(i % a.bytes);
        const int stored = a.stored[i], bit = stored >> a.bit & 1;
        const bool faulty = counter_step(static_cast<uint32_t>(a.place[image]), p) < a.limit;
        int value;
        if (a.source >= 0)
            value = stored >> a.source & 1;
        else
            value = a.truth[2 * bit + (counter_step(static_cast<uint32_t>(a.value[image]), p / 32) >> (p % 32) & 1)];
        const bool wrong = faulty && value != bit;
        a.read[i] = static_cast<uint8_t>(stored ^ (wrong ? 1 << a.bit : 0));
        faulty_bits += faulty;
        wrong_bits += wrong;
    });
    add_counts(a.counts, faulty_bits, wrong_bits);
}

}  // namespace

void image_faults_cuda(const ImageFaultsArgs& args, const Device& device) {
    launch(read_bytes, blocks_for(args.images * args.bytes), kThreads, 0, device.stream, args);
}

}  // namespace bnnkit
