// image_faults: a GPU's kernel against the reference, and the reference against numbers of bnnkit.counter.
#include "../kernels/image_faults/image_faults.h"
#include "check.h"
#include "random_source.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

struct Read {
    std::vector<uint8_t> bytes;
    std::vector<int64_t> counts = {0, 0};
};

Read run(void (*kernel)(const ImageFaultsArgs&), ImageFaultsArgs args) {
    Read read;
    read.bytes.assign(static_cast<size_t>(args.images * args.bytes), 0xEE);
    args.read = read.bytes.data();
    args.counts = read.counts.data();
    kernel(args);
    return read;
}

}  // namespace

TEST("image_faults: every kind, place and share") {
    Random random(1);
    for (int i = 0; i < cases(200); ++i) {
        ImageFaultsArgs args;
        args.images = random.between(0, 5);
        args.bytes = random.between(1, 700);
        std::vector<uint8_t> stored(static_cast<size_t>(args.images * args.bytes));
        for (uint8_t& byte : stored) byte = static_cast<uint8_t>(random.bits());
        std::vector<int64_t> place(static_cast<size_t>(args.images)), value(place.size());
        for (int64_t& state : place) state = static_cast<int64_t>(random.bits() >> 32);
        for (int64_t& state : value) state = static_cast<int64_t>(random.bits() >> 32);
        args.stored = stored.data();
        args.place = place.data();
        args.value = value.data();
        args.bit = static_cast<int>(random.between(0, 7));
        args.source = random.chance(40) ? static_cast<int>(random.between(0, 7)) : -1;
        for (uint8_t& entry : args.truth) entry = random.chance(50);
        args.limit = random.chance(30) ? uint64_t{1} << 32 : random.bits() >> 32;
        check::describe(args.images, " images of ", args.bytes, " bytes, bit ", args.bit, ", source ", args.source,
                        ", limit ", args.limit);
        const Read expected = run(image_faults_reference, args);
        int64_t differing = 0;
        for (size_t b = 0; b < stored.size(); ++b) differing += expected.bytes[b] != stored[b];
        CHECK_EQ(expected.counts[1], differing);
        if (args.limit == uint64_t{1} << 32) CHECK_EQ(expected.counts[0], args.images * args.bytes);
#if defined(BNNKIT_EMULATED_CUDA)
        const Read got = run([](const ImageFaultsArgs& a) { image_faults_cuda(a, Device()); }, args);
        CHECK_SAME(got.bytes, expected.bytes);
        CHECK_SAME(got.counts, expected.counts);
#endif
    }
}

int main() { return check::run_tests(); }
