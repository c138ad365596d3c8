// bitplane: slices against the definition and back, every variant.
#include "../kernels/bitplane/bitplane.h"
#include "check.h"
#include "plain_threads.h"
#include "random_source.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

std::vector<Variant<BitplaneArgs>> variants() {
    std::vector<Variant<BitplaneArgs>> all = {{Isa::reference, bitplane_reference}};
#if defined(BNNKIT_EMULATED_CUDA)
    all.push_back({Isa::cuda, emulated_bitplane});
#elif defined(__x86_64__)
    for (const auto& variant : usable_of<BitplaneArgs>({{Isa::avx2, bitplane_avx2}, {Isa::avx512, bitplane_avx512}}))
        all.push_back(variant);
#elif defined(__aarch64__)
    all.push_back({Isa::neon, bitplane_neon});
#endif
    return all;
}

}  // namespace

TEST("bitplane: slices are the definition's, and merging restores the weights") {
    Random random(1);
    for (int i = 0; i < cases(200); ++i) {
        const int bits = static_cast<int>(random.between(1, 16)), cell_bit = static_cast<int>(random.between(1, 8));
        const int64_t count = random.chance(10) ? random.between(4000, 13000) : random.between(0, 200);
        BitplaneArgs args;
        args.count = count;
        args.cell_bit = cell_bit;
        args.slice_count = (bits + cell_bit - 1) / cell_bit;
        std::vector<int32_t> weights(static_cast<size_t>(count));
        for (auto& w : weights) w = static_cast<int32_t>(random.between(0, (1 << bits) - 1));
        std::vector<uint8_t> expected(static_cast<size_t>(count * args.slice_count));
        for (int64_t w = 0; w < count; ++w)
            for (int b = 0; b < bits; ++b)  // bit by bit
                if (weights[w] >> b & 1)
                    expected[b / cell_bit * count + w] |= static_cast<uint8_t>(1 << (b % cell_bit));
        for (const auto& variant : variants()) {
            for (const Threads& threads : {one_thread(), several_threads<3>()}) {
                check::describe(name_of(variant.isa), ", ", bits, " bits in cells of ", cell_bit, ", ", count,
                                " weights, ", threads.count, " threads");
                std::vector<uint8_t> slices(expected.size(), 0xAA);
                std::vector<int32_t> copy = weights, merged(weights.size(), -1);
                args.threads = threads;
                args.direction = BitplaneArgs::Direction::slice;
                args.weights = copy.data();
                args.slices = slices.data();
                variant.run(args);
                CHECK_SAME(slices, expected);
                CHECK_SAME(copy, weights);
                args.direction = BitplaneArgs::Direction::merge;
                args.weights = merged.data();
                variant.run(args);
                CHECK_SAME(merged, weights);
#if defined(BNNKIT_EMULATED_CUDA)
                uint32_t used = 0, sliced = 0;
                for (int32_t w : weights) used |= static_cast<uint32_t>(w);
                for (uint8_t slice : slices) sliced |= slice;
                CHECK_EQ(used_bits_cuda(args, EmulatedDevice(sizeof used)), sliced);
                args.direction = BitplaneArgs::Direction::slice;
                args.weights = copy.data();
                CHECK_EQ(used_bits_cuda(args, EmulatedDevice(sizeof used)), used);
#endif
            }
        }
    }
}

int main() { return check::run_tests(); }
