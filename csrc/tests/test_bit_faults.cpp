// bit_faults: a GPU's kernel against the reference, and the reference against what every kind of fault must leave.
#include "../kernels/bit_faults/bit_faults.h"

#include "check.h"
#include "random_source.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

struct Read {
    std::vector<uint64_t> bits;
    std::vector<int64_t> counts = {0, 0};
};

Read run(void (*kernel)(const BitFaultsArgs&), BitFaultsArgs args) {
    Read read;
    read.bits.assign(static_cast<size_t>(args.words()), 0xEEEEEEEEEEEEEEEE);
    args.read = read.bits.data();
    args.counts = read.counts.data();
    kernel(args);
    return read;
}

// Random bits of channels; those between chunks are 0.
std::vector<uint64_t> random_bits(Random& random, const BitFaultsArgs& a) {
    std::vector<uint64_t> bits(static_cast<size_t>(a.words()), 0);
    for (int64_t row = 0; row < a.planes * a.images * a.pixels; ++row)
        for (int64_t channel = 0; channel < a.layout.channels; ++channel) {
            const int64_t chunk = channel / a.layout.channels_per_array, within = channel % a.layout.channels_per_array;
            const int64_t word = row * a.layout.pixel_words() + chunk * a.layout.slot_words() + within / kWordBits;
            bits[static_cast<size_t>(word)] |= uint64_t{random.chance(50)} << (within % kWordBits);
        }
    return bits;
}

int64_t ones(const std::vector<uint64_t>& words) {
    int64_t count = 0;
    for (uint64_t word : words) count += __builtin_popcountll(word);
    return count;
}

}  // namespace

TEST("bit_faults: every kind, layout and share") {
    Random random(1);
    for (int i = 0; i < cases(200); ++i) {
        BitFaultsArgs args;
        args.images = random.between(0, 3), args.pixels = random.between(1, 12);
        args.planes = static_cast<int>(random.between(1, 3));
        const int64_t channels = random.between(1, 200);
        args.layout = {channels, 1, random.chance(30) ? channels : random.between(1, 150), false};
        const auto bits = random_bits(random, args);
        std::vector<int64_t> state(static_cast<size_t>(args.images));
        for (int64_t& s : state) s = static_cast<int64_t>(random.bits() >> 32);
        args.bits = bits.data(), args.state = state.data();
        args.kind = static_cast<BitFault>(random.between(0, 3));
        args.limit = random.chance(30) ? uint64_t{1} << 32 : random.bits() >> 32;
        args.plane = random.chance(50) ? -1 : static_cast<int>(random.between(0, args.planes - 1));
        check::describe(args.images, " images, ", args.pixels, " pixels, ", args.planes, " planes, ", channels,
                        " channels by ", args.layout.channels_per_array, ", kind ", static_cast<int>(args.kind),
                        ", plane ", args.plane, ", limit ", args.limit);
        const Read expected = run(bit_faults_reference, args);
        int64_t differing = 0;
        for (size_t w = 0; w < bits.size(); ++w) differing += __builtin_popcountll(expected.bits[w] ^ bits[w]);
        CHECK_EQ(expected.counts[1], differing);
        const int64_t all = args.images * args.pixels * channels, planes = args.plane < 0 ? args.planes : 1;
        if (args.limit == uint64_t{1} << 32) {
            CHECK_EQ(expected.counts[0], all * planes);
            if (args.plane < 0 && args.kind == BitFault::flip) CHECK_EQ(ones(expected.bits), all * planes - ones(bits));
            if (args.plane < 0 && args.kind == BitFault::stuck0) CHECK_EQ(ones(expected.bits), int64_t{0});
            if (args.plane < 0 && args.kind == BitFault::stuck1) CHECK_EQ(ones(expected.bits), all * planes);
        }
#if defined(BNNKIT_EMULATED_CUDA)
        const Read got = run([](const BitFaultsArgs& a) { bit_faults_cuda(a, Device()); }, args);
        CHECK_SAME(got.bits, expected.bits);
        CHECK_SAME(got.counts, expected.counts);
#endif
    }
}

int main() { return check::run_tests(); }
