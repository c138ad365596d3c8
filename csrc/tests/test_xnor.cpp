// xnor: the scalar reference against a dense convolution, and every variant against the reference, bit for bit.
#include "../kernels/xnor/xnor.h"
#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

std::vector<Variant<XnorArgs>> variants() {
#if defined(BNNKIT_EMULATED_CUDA)
    return {{Isa::cuda, emulated_xnor}};
#elif defined(__x86_64__)
    return usable_of<XnorArgs>({{Isa::avx2, xnor_avx2_by_counting},
                                {Isa::avx2, xnor_avx2_vertically},
                                {Isa::avx512, xnor_avx512_by_counting},
                                {Isa::avx512, xnor_avx512_vertically},
                                {Isa::amx, xnor_amx}});
#elif defined(__aarch64__)
    return usable_of<XnorArgs>({{Isa::neon, xnor_neon}});
#else
    return {};
#endif
}

std::vector<float> run(void (*kernel)(const XnorArgs&), const DenseConv& dense, const float* bias,
                       const Threads& threads) {
    const PackedConv packed(dense, threads);
    XnorArgs args;
    args.conv = packed.conv;
    args.bias = bias;
    std::vector<float> y(packed.outputs(), -12345.0f);
    args.y = y.data();
    kernel(args);
    return y;
}

void check_all(const DenseConv& dense, const float* bias, bool dense_too) {
    check::describe("reference, ", dense.text());
    const std::vector<float> expected = run(xnor_reference, dense, bias, one_thread());
    if (dense_too) {
        std::vector<float> plain(expected.size());
        dense.for_each_output([&](int64_t index, int64_t output, const std::vector<int64_t>& sums) {
            plain[index] = static_cast<float>(sums[0]) + (bias ? bias[output] : 0.0f);
        });
        CHECK_SAME(expected, plain);
    }
    for (const auto& variant : variants())
        for (const Threads& threads : {one_thread(), several_threads<3>()}) {
            check::describe(name_of(variant.isa), ", threads ", threads.count, bias ? ", bias, " : ", ", dense.text());
            CHECK_SAME(run(variant.run, dense, bias, threads), expected);
        }
}

template <class Value>
std::vector<Value> integers(void (*kernel)(const XnorIntegersArgs&), const DenseConv& dense) {
    const PackedConv packed(dense, one_thread());
    XnorIntegersArgs args;
    args.conv = packed.conv;
    args.bits = 8 * sizeof(Value);
    std::vector<Value> y(packed.outputs(), -12345);
    args.y = y.data();
    kernel(args);
    return y;
}

struct Fold {
    std::vector<int32_t> thresholds, flip;
};

// Thresholds of the size of the sums, and some that all or no sums reach.
Fold random_fold(Random& random, const DenseConv& dense) {
    const ConvGeometry& g = dense.geometry;
    const int64_t reach = g.group_channels() * g.taps(), near = std::max<int64_t>(2, reach / 20);
    Fold fold;
    for (int64_t output = 0; output < g.out_channels; ++output) {
        const int64_t threshold = random.chance(80) ? random.between(-near, near) : random.between(-reach, reach + 1);
        fold.thresholds.push_back(static_cast<int32_t>(threshold));
        fold.flip.push_back(random.chance(30) ? -1 : 0);
    }
    return fold;
}

std::vector<uint64_t> bits(void (*kernel)(const XnorBitsArgs&), const DenseConv& dense, const Fold& fold) {
    const PackedConv packed(dense, one_thread());
    XnorBitsArgs args;
    args.conv = packed.conv;
    args.thresholds = fold.thresholds.data();
    args.flip = fold.flip.data();
    const ConvGeometry& g = dense.geometry;
    std::vector<uint64_t> y(static_cast<size_t>(g.batch * g.out_pixels() * args.words()), 0);
    args.y = y.data();
    kernel(args);
    return y;
}

std::vector<uint64_t> folded(const std::vector<float>& sums, const DenseConv& dense, const Fold& fold) {
    const ConvGeometry& g = dense.geometry;
    const int64_t words = words_for(g.out_channels), pixels = g.out_pixels();
    std::vector<uint64_t> expected(static_cast<size_t>(g.batch * pixels * words), 0);
    for (size_t i = 0; i < sums.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        const int64_t pixel = at % pixels, output = at / pixels % g.out_channels, image = at / pixels / g.out_channels;
        const auto o = static_cast<size_t>(output);
        const float sum = fold.flip[o] ? -sums[i] : sums[i];
        if (sum >= static_cast<float>(fold.thresholds[o]))
            expected[static_cast<size_t>((image * pixels + pixel) * words + output / 64)] |= uint64_t{1} << output % 64;
    }
    return expected;
}

#if defined(BNNKIT_EMULATED_CUDA)
constexpr auto integer_kernel = emulated_xnor_integers;
constexpr auto bit_kernel = emulated_xnor_bits;
#else
constexpr auto integer_kernel = xnor_integers;
constexpr auto bit_kernel = xnor_bits;
#endif

void check_integers_and_bits(Random& random, const DenseConv& dense) {
    check::describe("integers and bits, ", dense.text());
    const std::vector<float> sums = run(xnor_reference, dense, nullptr, one_thread());
    CHECK_SAME(integers<int32_t>(integer_kernel, dense), std::vector<int32_t>(sums.begin(), sums.end()));
    CHECK_SAME(integers<int16_t>(integer_kernel, dense), std::vector<int16_t>(sums.begin(), sums.end()));
    const ConvGeometry& g = dense.geometry;
    if (g.groups > 1 && g.group_outputs() % 8 != 0) return;
    const Fold fold = random_fold(random, dense);
    CHECK_SAME(bits(bit_kernel, dense, fold), folded(sums, dense, fold));
}

std::vector<float> random_bias(Random& random, int64_t count) {
    std::vector<float> bias(static_cast<size_t>(count));
    for (float& b : bias) b = random.real(-2, 2);
    return bias;
}

}  // namespace

TEST("xnor: random convolutions") {
    Random random(1);
    for (int i = 0; i < cases(350); ++i) {
        const DenseConv dense = random_conv(random, {150000, true, true});
        const auto bias = random_bias(random, dense.geometry.out_channels);
        check_all(dense, random.chance(50) ? bias.data() : nullptr, i % 4 == 0);
    }
}

TEST("xnor: matrix products around every block size") {
    Random random(2);
    for (int64_t k : {1, 63, 64, 65, 127, 128, 129, 767, 768, 769, 1600})
        for (int64_t m : {1, 3, 65}) check_all(matrix_product(random, m, random.between(1, 40), k, k), nullptr, false);
    for (int64_t n : {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65})
        check_all(matrix_product(random, random.between(120, 140), n, 70, 70), nullptr, false);
}

#if defined(__x86_64__) && !defined(BNNKIT_EMULATED_CUDA)
TEST("xnor: the vertical algorithm takes large products, up to what its sums can hold") {
    Random random(10);
    const auto takes = [](const VerticalMinimum& minimum, int64_t m, int64_t n, int64_t k) {
        BinaryConv conv;
        conv.geometry.batch = m, conv.geometry.channels = k, conv.geometry.out_channels = n;
        conv.layout = layout_of(conv.geometry, k, false);
        return minimum.reached_by(conv);
    };
    for (const VerticalMinimum& least : {kVerticalAvx2, kVerticalAvx512}) {
        CHECK(takes(least, least.patches, least.outputs, least.inputs));
        CHECK(takes(least, least.patches, least.outputs, kMostVerticalInputs));
        CHECK(!takes(least, least.patches - 1, least.outputs, least.inputs));
        CHECK(!takes(least, least.patches, least.outputs - 1, least.inputs));
        CHECK(!takes(least, least.patches, least.outputs, least.inputs - 1));
        CHECK(!takes(least, least.patches, least.outputs, kMostVerticalInputs + 1));
    }
    // Either side of each limit through the choice itself.
    for (const auto& variant : usable_of<XnorArgs>({{Isa::avx2, xnor_avx2}, {Isa::avx512, xnor_avx512}})) {
        const VerticalMinimum& least = variant.isa == Isa::avx2 ? kVerticalAvx2 : kVerticalAvx512;
        for (int64_t less : {0, 1}) {
            const DenseConv dense =
                matrix_product(random, least.patches - less, least.outputs, least.inputs, least.inputs);
            check::describe(name_of(variant.isa), ", ", dense.text());
            CHECK_SAME(run(variant.run, dense, nullptr, one_thread()),
                       run(xnor_reference, dense, nullptr, one_thread()));
        }
    }
}

TEST("xnor: the vertical algorithm around the size of its blocks") {
    Random random(11);
    for (int64_t m : {255, 256, 257, 511, 512, 513, 1025})
        check_all(matrix_product(random, m, random.between(14, 36), 70, 70), nullptr, false);
}

TEST("xnor: the largest sums of the vertical algorithm") {
    Random random(12);
    for (int w_bit = 0; w_bit <= 1; ++w_bit)
        for (int x_bit = 0; x_bit <= 1; ++x_bit) {
            DenseConv dense = matrix_product(random, 3, 6, kMostVerticalInputs, kMostVerticalInputs);
            std::fill(dense.x.bits.begin(), dense.x.bits.end(), static_cast<uint8_t>(x_bit));
            std::fill(dense.w.bits.begin(), dense.w.bits.end(), static_cast<uint8_t>(w_bit));
            check_all(dense, nullptr, true);
        }
}
#endif

// Bytes that count mismatches would pass 255 after 31 words.
TEST("xnor: all values agree or all differ") {
    Random random(4);
    for (int64_t k : {64, 1984, 1985, 2048, 3968, 4032, 8200})
        for (int x_bit = 0; x_bit <= 1; ++x_bit) {
            DenseConv dense = matrix_product(random, 5, 9, k, k);
            std::fill(dense.x.bits.begin(), dense.x.bits.end(), static_cast<uint8_t>(x_bit));
            std::fill(dense.w.bits.begin(), dense.w.bits.end(), uint8_t{1});
            check_all(dense, nullptr, true);
        }
}

TEST("xnor: an empty batch") {
    Random random(3);
    DenseConv dense = matrix_product(random, 0, 5, 70, 70);
    for (const auto& variant : variants()) {
        check::describe(name_of(variant.isa), ", empty batch");
        CHECK(run(variant.run, dense, nullptr, one_thread()).empty());
    }
}

TEST("xnor: integers and bits of random convolutions") {
    Random random(7);
    for (int i = 0; i < cases(120); ++i) check_integers_and_bits(random, random_conv(random, {60000, true, true}));
}

TEST("xnor: integers and bits around every tile width") {
    Random random(8);
    for (int64_t n : {1, 7, 8, 9, 63, 64, 65, 90, 96, 127, 128, 150, 160, 161, 200})
        for (int64_t m : {3, 70}) check_integers_and_bits(random, matrix_product(random, m, n, 70, 70));
}

TEST("xnor: bits of groups lie side by side") {
    Random random(9);
    for (int64_t outputs : {8, 40, 72})
        for (int64_t groups : {2, 3}) {
            DenseConv dense;
            ConvGeometry& g = dense.geometry;
            g.batch = 2, g.height = 4, g.width = 3, g.kernel_h = 3, g.kernel_w = 2, g.pad_h = 1;
            g.groups = groups, g.channels = 21 * groups, g.out_channels = outputs * groups;
            dense.channels_per_array = 21;
            dense.fill(random);
            check_integers_and_bits(random, dense);
        }
}

#if defined(BNNKIT_EMULATED_CUDA)
TEST("xnor: devices with little shared memory copy less at a time") {
    Random random(6);
    for (int64_t kib : {64, 99, 227}) {
        emulated_cuda::shared_bytes = kib * 1024;
        for (int64_t n : {90, 128, 160}) {
            const DenseConv dense = matrix_product(random, 70, n, 1600, 1600);
            check_all(dense, nullptr, false);
        }
    }
    emulated_cuda::shared_bytes = 227 * 1024;
}
#endif

int main() { return check::run_tests(); }
