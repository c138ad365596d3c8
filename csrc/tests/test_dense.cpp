// dense: a GPU's kernel against the reference, and the reference against sums made another way.
#include "../kernels/dense/dense.h"

#include <algorithm>
#include <cmath>

#include "check.h"
#include "random_source.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

std::vector<float> random_floats(Random& random, int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = random.real(-8, 8);
    return values;
}

std::vector<float> run(void (*kernel)(const DenseArgs&), DenseArgs args) {
    const ConvGeometry& g = args.geometry;
    std::vector<float> y(static_cast<size_t>(g.batch * g.out_channels * g.out_pixels()), NAN);
    args.y = y.data();
    kernel(args);
    return y;
}

DenseArgs random_args(Random& random) {
    DenseArgs args;
    ConvGeometry& g = args.geometry;
    g.batch = random.between(0, 3), g.channels = random.between(1, 40), g.out_channels = random.between(1, 9);
    g.kernel_h = random.between(1, 4), g.kernel_w = random.between(1, 4);
    g.pad_h = random.between(0, g.kernel_h), g.pad_w = random.between(0, g.kernel_w);
    g.stride_h = random.between(1, 3), g.stride_w = random.between(1, 3);
    g.height = random.between(std::max<int64_t>(1, g.kernel_h - 2 * g.pad_h), 9);
    g.width = random.between(std::max<int64_t>(1, g.kernel_w - 2 * g.pad_w), 9);
    return args;
}

}  // namespace

TEST("dense: every shape, in the given order") {
    Random random(1);
    for (int i = 0; i < cases(200); ++i) {
        DenseArgs args = random_args(random);
        const ConvGeometry& g = args.geometry;
        const auto x = random_floats(random, g.batch * g.channels * g.height * g.width);
        const auto w = random_floats(random, g.out_channels * g.channels * g.taps());
        const auto bias = random_floats(random, g.out_channels);
        args.x = x.data(), args.w = w.data();
        if (random.chance(50)) args.bias = bias.data();
        check::describe(g.batch, " images ", g.channels, "x", g.height, "x", g.width, ", kernel ", g.out_channels, "x",
                        g.kernel_h, "x", g.kernel_w);
        const std::vector<float> expected = run(dense_reference, args);
        CHECK_SAME(run(dense, args), expected);
#if defined(BNNKIT_EMULATED_CUDA)
        CHECK_SAME(run([](const DenseArgs& a) { dense_cuda(a, Device()); }, args), expected);
#endif
    }
}

TEST("dense: the order of the sum decides, and it is taps before channels") {
    // 2^60 + 1 - 2^60: 0 where 1 is added to 2^60 first, 1 where it comes last.
    const float big = 0x1p60f;
    DenseArgs args;
    args.geometry.channels = 2, args.geometry.width = args.geometry.kernel_w = 2;
    const std::vector<float> x = {big, 1, -big, 1};  // [channel][column]
    const std::vector<float> w = {1, 1, 1, 0};
    args.x = x.data(), args.w = w.data();
    CHECK_SAME(run(dense_reference, args), std::vector<float>{1});  // big - big, then 1
#if defined(BNNKIT_EMULATED_CUDA)
    CHECK_SAME(run([](const DenseArgs& a) { dense_cuda(a, Device()); }, args), std::vector<float>{1});
#endif
}

TEST("dense: taps beside the image, strides and the bias, by hand") {
    DenseArgs args;
    ConvGeometry& g = args.geometry;
    g.height = 1, g.width = 3, g.kernel_w = 3, g.pad_w = 1, g.stride_w = 2;
    const std::vector<float> x = {1, 10, 100}, w = {2, 3, 5}, bias = {0.5f};
    args.x = x.data(), args.w = w.data(), args.bias = bias.data();
    CHECK_SAME(run(dense_reference, args), (std::vector<float>{3 + 50 + 0.5f, 20 + 300 + 0.5f}));
}

int main() { return check::run_tests(); }
