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
    return usable_of<XnorArgs>({{Isa::avx2, xnor_avx2}, {Isa::avx512, xnor_avx512}, {Isa::amx, xnor_amx}});
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
