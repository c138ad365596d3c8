// adc: the scalar reference against a dense convolution, and every variant against the reference, bit for bit.
#include <algorithm>

#include "../kernels/adc/adc.h"
#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "random_converter.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

std::vector<Variant<AdcArgs>> variants() {
#if defined(BNNKIT_EMULATED_CUDA)
    return {{Isa::cuda, emulated_adc}};
#elif defined(__x86_64__)
    return usable_of<AdcArgs>({{Isa::avx2, adc_avx2}, {Isa::avx512, adc_avx512}, {Isa::amx, adc_amx}});
#elif defined(__aarch64__)
    return usable_of<AdcArgs>({{Isa::neon, adc_neon}});
#else
    return {};
#endif
}

struct Converter {
    Table table;
    double scale, offset;
    std::vector<float> bias;  // none when empty
};

struct Call {
    Call(const DenseConv& dense, const Converter& c, const Threads& threads)
        : packed(dense, threads), y(packed.outputs(), -12345.0f) {
        args.conv = packed.conv;
        args.thresholds = c.table.thresholds.data();
        args.levels = c.table.levels.data();
        args.level_count = static_cast<int>(c.table.levels.size());
        args.scale = c.scale;
        args.offset = c.offset;
        args.bias = c.bias.empty() ? nullptr : c.bias.data();
        args.y = y.data();
    }
    Call(const Call&) = delete;

    PackedConv packed;
    std::vector<float> y;
    AdcArgs args;
};

std::vector<float> run(void (*kernel)(const AdcArgs&), const DenseConv& dense, const Converter& c,
                       const Threads& threads) {
    Call call(dense, c, threads);
    kernel(call.args);
    return call.y;
}

std::vector<float> plain(const DenseConv& dense, const Converter& c) {
    std::vector<float> y(PackedConv(dense, one_thread()).outputs());
    dense.for_each_output([&](int64_t index, int64_t output, const std::vector<int64_t>& sums) {
        int64_t total = 0;
        for (int64_t ps : sums) total += c.table.level(ps);
        double value = c.scale * static_cast<double>(total) + c.offset * static_cast<double>(dense.arrays());
        if (!c.bias.empty()) value += static_cast<double>(c.bias[output]);
        y[index] = static_cast<float>(value);
    });
    return y;
}

void check_all(const DenseConv& dense, const Converter& converter, bool dense_too) {
    const std::string what = dense.text() + ", " + converter.table.text();
    check::describe("reference, ", what);
    const std::vector<float> expected = run(adc_reference, dense, converter, one_thread());
    if (dense_too) CHECK_SAME(expected, plain(dense, converter));
    for (const auto& variant : variants())
        for (const Threads& threads : {one_thread(), several_threads<3>()}) {
            check::describe(name_of(variant.isa), ", threads ", threads.count, ", ", what);
            CHECK_SAME(run(variant.run, dense, converter, threads), expected);
        }
}

Converter random_converter(Random& random, const DenseConv& dense) {
    // Full scale of the array, of which the channels at hand may fill only a part.
    const double scale = static_cast<double>(dense.bound()) * (random.chance(60) ? 1.0 : random.real(0.3f, 4.0f));
    Converter c{random_table(random, dense.bound(), scale, dense.arrays()), 1.0, 0.0, {}};
    if (random.chance(50)) c.scale = static_cast<double>(random.real(-3, 3)) / 7, c.offset = random.real(-200, 200);
    if (random.chance(50))
        for (int64_t o = 0; o < dense.geometry.out_channels; ++o) c.bias.push_back(random.real(-2, 2));
    return c;
}

}  // namespace

TEST("adc: random convolutions and converters") {
    Random random(1);
    for (int i = 0; i < cases(500); ++i) {
        const DenseConv dense = random_conv(random);
        Converter converter = random_converter(random, dense);
        if (i % 2) std::sort(converter.table.levels.begin(), converter.table.levels.end());  // as most converters' do
        check_all(dense, converter, i % 4 == 0);
    }
}

TEST("adc: matrix products with 1 to 1024 rows per array") {
    Random random(2);
    for (int64_t rows : {1, 2, 3, 31, 63, 64, 65, 100, 126, 127, 128, 129, 192, 255, 256, 257, 512, 1000, 1023, 1024}) {
        const int64_t k = rows < 8 ? 9 * rows + 1 : random.chance(50) ? 2 * rows : 2 * rows + random.between(1, rows);
        const DenseConv dense = matrix_product(random, random.between(1, 20), random.between(1, 20), k, rows);
        for (int bits = 1; bits <= 4; ++bits)
            check_all(dense, {uniform_table(bits, static_cast<double>(rows)), 2.5, 0.0, {}}, bits == 3);
        check_all(dense, random_converter(random, dense), true);
    }
}

TEST("adc: 3x3 convolutions of the usual array, every width of operand and converter") {
    Random random(3);
    for (int a = 1; a <= 4; ++a)
        for (int w = 1; w <= 4; ++w)
            for (int bits = 1; bits <= 4; ++bits) {
                DenseConv dense;
                auto& g = dense.geometry;
                g.channels = 31, g.out_channels = 9, g.height = g.width = 5;
                g.kernel_h = g.kernel_w = 3, g.pad_h = g.pad_w = 1;
                dense.channels_per_array = 14;
                dense.x.planes = a, dense.w.planes = w;
                dense.fill(random);
                const double full_scale = 128.0 * static_cast<double>(dense.product_bound());
                check_all(dense, {uniform_table(bits, full_scale), 128.0 / ((1 << bits) - 1), 0.0, {}}, false);
            }
}

// All rows agree, or all differ: partial sums of +-R, where tables, folded counts and counts in bytes end.
TEST("adc: saturated partial sums") {
    Random random(4);
    for (int64_t rows : {64, 126, 127, 128, 129, 256, 1984, 2048}) {
        for (int x_bit = 0; x_bit <= 1; ++x_bit) {
            DenseConv dense = matrix_product(random, 3, 17, 2 * rows, rows);
            std::fill(dense.x.bits.begin(), dense.x.bits.end(), static_cast<uint8_t>(x_bit));
            std::fill(dense.w.bits.begin(), dense.w.bits.end(), uint8_t{1});
            for (int bits = 1; bits <= 4; ++bits)
                check_all(dense, {uniform_table(bits, static_cast<double>(rows)), 1.0, 0.0, {}}, true);
            const auto r = static_cast<int32_t>(rows);
            for (int32_t edge : {-r - 1, -r, -r + 1, -r + 2, r - 1, r, r + 1})
                check_all(dense, {{{-r + 2, edge > -r + 2 ? edge : -r + 2}, {5, -7, 90}, "edge"}, 1.0, 0.0, {}}, true);
        }
    }
}

TEST("adc: an empty batch") {
    Random random(5);
    const DenseConv dense = matrix_product(random, 0, 5, 300, 128);
    for (const auto& variant : variants()) {
        check::describe(name_of(variant.isa), ", empty batch");
        CHECK(run(variant.run, dense, {uniform_table(2, 128), 1.0, 0.0, {}}, one_thread()).empty());
    }
}

#if defined(__x86_64__) && !defined(BNNKIT_EMULATED_CUDA)
struct VerticalVariant {
    Isa isa;
    bool (*run)(const AdcArgs&);
    int taken = 0;
};

std::vector<VerticalVariant> vertical_variants() {
    std::vector<VerticalVariant> variants;
    if (usable(Isa::avx2)) variants.push_back({Isa::avx2, adc_avx2_vertically});
    if (usable(Isa::avx512)) variants.push_back({Isa::avx512, adc_avx512_vertically});
    return variants;
}

void check_vertically(std::vector<VerticalVariant>& variants, const DenseConv& dense, const Converter& converter) {
    const std::string what = dense.text() + ", " + converter.table.text();
    const std::vector<float> expected = run(adc_reference, dense, converter, one_thread());
    for (VerticalVariant& variant : variants)
        for (const Threads& threads : {one_thread(), several_threads<3>()}) {
            check::describe(name_of(variant.isa), " vertically, threads ", threads.count, ", ", what);
            Call call(dense, converter, threads);
            if (!counts_vertically(call.args)) continue;
            const std::vector<float> untouched = call.y;
            const bool taken = variant.run(call.args);
            variant.taken += taken;
            CHECK_SAME(call.y, taken ? expected : untouched);
        }
}

// Levels equally spaced, thresholds anywhere.
Converter with_equal_steps(Random& random, Converter c) {
    const auto step = static_cast<int32_t>(random.between(-300, 300));
    for (size_t j = 0; j < c.table.levels.size(); ++j)
        c.table.levels[j] = c.table.levels[0] % 1000 + static_cast<int32_t>(j) * step;
    return c;
}

TEST("adc: bits of many patches added side by side") {
    Random random(6);
    auto variants = vertical_variants();
    constexpr int kCases = 400;
    for (int i = 0; i < cases(kCases); ++i) {
        Limits limits;
        limits.one_plane = true;
        const DenseConv dense = random_conv(random, limits);
        check_vertically(variants, dense, with_equal_steps(random, random_converter(random, dense)));
    }
    // The others have one level, or borders that repeat too many patterns.
    for (const VerticalVariant& variant : variants) CHECK(variant.taken > cases(kCases));
}

TEST("adc: the vertical algorithm around the sizes of its blocks, arrays and pairs of outputs") {
    Random random(7);
    auto variants = vertical_variants();
    int calls = 0;
    for (int64_t m : {1, 63, 255, 256, 257, 511, 512, 513, 1025})
        for (int64_t rows : {1, 7, 127, 128, 254, 255, 256, 1023}) {
            const DenseConv dense = matrix_product(random, m, random.between(1, 35), random.between(1, 3) * rows, rows);
            check_vertically(variants, dense,
                             {uniform_table(static_cast<int>(random.between(1, 2)), 50.0), 3.0, 0.0, {}});
            calls += 2;
        }
    for (const VerticalVariant& variant : variants) CHECK(variant.taken == calls);
}

// Images whose border falls anywhere in a vector, and several border classes in one.
TEST("adc: the vertical algorithm at borders") {
    Random random(8);
    auto variants = vertical_variants();
    int calls = 0;
    for (const int64_t side : {1, 2, 4, 8, 16, 32})
        for (const bool tap : {false, true}) {
            DenseConv dense;
            auto& g = dense.geometry;
            g.batch = 512 / (side * side) + 1;
            g.channels = 20, g.out_channels = 5, g.height = g.width = side;
            g.kernel_h = g.kernel_w = 3, g.pad_h = g.pad_w = 1;
            dense.channels_per_array = 14, dense.tap = tap;
            dense.fill(random);
            check_vertically(variants, dense, {uniform_table(1, 128.0), 128.0, 0.0, {}});
            calls += 2;
        }
    for (const VerticalVariant& variant : variants) CHECK(variant.taken == calls);
}
#endif

int main() { return check::run_tests(); }
