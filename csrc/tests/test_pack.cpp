// pack and arrange_kernels against the packing law, bit by bit.
#include <cmath>
#include <limits>

#include "../kernels/pack/pack.h"
#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

std::vector<Variant<PackArgs>> variants() {
    std::vector<Variant<PackArgs>> all = {{Isa::reference, pack_reference}};
#if defined(BNNKIT_EMULATED_CUDA)
    all.push_back({Isa::cuda, emulated_pack});
#elif defined(__x86_64__)
    for (const auto& variant : usable_of<PackArgs>({{Isa::avx2, pack_avx2}, {Isa::avx512, pack_avx512}}))
        all.push_back(variant);
#elif defined(__aarch64__)
    all.push_back({Isa::neon, pack_neon});
#endif
    return all;
}

PackArgs random_args(Random& random) {
    PackArgs args;
    args.groups = random.chance(60) ? 1 : random.between(2, 4);
    args.channels = random_channels(random) * args.groups;
    args.pixels = random.chance(30) ? 1 : random.between(1, 150);
    args.batch = random.between(1, std::max<int64_t>(1, std::min<int64_t>(5, 20000 / (args.channels * args.pixels))));
    args.channels_last = random.chance(50);
    args.channels_per_array = random.between(1, args.group_channels() + 3);
    args.planes = static_cast<int>(random.chance(70) ? random.between(1, 4) : random.between(5, 8));
    args.thermometer = random.chance(30);
    args.strict = random.chance(50);
    const int most = args.thermometer ? args.planes : (1 << args.planes) - 1;
    args.threshold_count = random.chance(60) ? most : static_cast<int>(random.between(1, most));
    for (int j = 0; j < args.threshold_count; ++j) args.thresholds[j] = random.chance(20) ? 0.0f : random.real(-1, 1);
    std::sort(args.thresholds, args.thresholds + args.threshold_count);
    return args;
}

// Values that lie on thresholds, on signed zeros and at the ends of float32 as well as anywhere.
float random_value(Random& random, const PackArgs& args) {
    switch (random.between(0, 9)) {
        case 0: return args.thresholds[random.between(0, args.threshold_count - 1)];
        case 1: return random.chance(50) ? 0.0f : -0.0f;
        case 2: return std::nextafter(args.thresholds[random.between(0, args.threshold_count - 1)], random.real(-9, 9));
        case 3:
            return random.chance(50) ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity();
        case 4: return random.chance(50) ? std::numeric_limits<float>::denorm_min() : -1e-45f;
        default: return random.real(-1.5f, 1.5f);
    }
}

// The law: bit i of a slot is channel i of its chunk; slots are whole words, ordered by group and chunk; the rest is 0.
std::vector<uint64_t> by_the_law(const PackArgs& a) {
    const int64_t per_group = a.channels / a.groups;
    const int64_t chunks = (per_group + a.channels_per_array - 1) / a.channels_per_array;
    const int64_t slot_words = (a.channels_per_array + 63) / 64, pixel_words = a.groups * chunks * slot_words;
    std::vector<uint64_t> words(static_cast<size_t>(a.planes * a.batch * a.pixels * pixel_words));
    for (int64_t image = 0; image < a.batch; ++image)
        for (int64_t pixel = 0; pixel < a.pixels; ++pixel)
            for (int64_t c = 0; c < a.channels; ++c) {
                const float v = a.x[a.channels_last ? (image * a.pixels + pixel) * a.channels + c
                                                    : (image * a.channels + c) * a.pixels + pixel];
                int code = 0;
                for (int j = 0; j < a.threshold_count; ++j)
                    code += a.strict ? v > a.thresholds[j] : v >= a.thresholds[j];
                const int64_t within = c % per_group;
                const int64_t slot = (c / per_group * chunks + within / a.channels_per_array) * slot_words;
                for (int p = 0; p < a.planes; ++p) {
                    const bool set = a.thermometer ? p < a.threshold_count && code > p : code & (1 << p);
                    const int64_t first = ((p * a.batch + image) * a.pixels + pixel) * pixel_words + slot;
                    if (set) set_bit(words, first, within % a.channels_per_array);
                }
            }
    return words;
}

std::string text(const PackArgs& a) {
    std::ostringstream s;
    s << "batch " << a.batch << ", channels " << a.channels << ", pixels " << a.pixels
      << (a.channels_last ? " last" : " first") << ", groups " << a.groups << ", " << a.channels_per_array
      << " per array, planes " << a.planes << (a.thermometer ? "t" : "") << ", thresholds " << a.threshold_count
      << (a.strict ? " strict" : "");
    return s.str();
}

}  // namespace

TEST("pack: every variant obeys the packing law") {
    Random random(1);
    const auto all = variants();
    for (int i = 0; i < cases(400); ++i) {
        PackArgs args = random_args(random);
        std::vector<float> x(static_cast<size_t>(args.batch * args.channels * args.pixels));
        for (float& v : x) v = random_value(random, args);
        args.x = x.data();
        const std::vector<uint64_t> expected = by_the_law(args);
        for (const auto& variant : all) {
            for (const Threads& threads : {one_thread(), several_threads<3>()}) {
                bool has_nan = false;
                std::vector<uint64_t> out(expected.size(), ~uint64_t{0});  // whatever lies there must be overwritten
                args.out = out.data();
                args.has_nan = &has_nan;
                args.threads = threads;
                check::describe(name_of(variant.isa), ", threads ", threads.count, ", ", text(args));
                variant.run(args);
                CHECK_SAME(out, expected);
                CHECK(!has_nan);
            }
        }
    }
}

TEST("pack: one NaN anywhere is reported") {
    Random random(2);
    const auto all = variants();
    for (int i = 0; i < cases(150); ++i) {
        PackArgs args = random_args(random);
        std::vector<float> x(static_cast<size_t>(args.batch * args.channels * args.pixels), 0.5f);
        std::vector<uint64_t> out(static_cast<size_t>(args.planes * args.plane_words()));
        const int64_t at = random.between(0, static_cast<int64_t>(x.size()) - 1);
        x[at] = random.chance(50) ? std::numeric_limits<float>::quiet_NaN() : -std::numeric_limits<float>::quiet_NaN();
        args.x = x.data();
        args.out = out.data();
        args.threads = random.chance(50) ? one_thread() : several_threads<2>();
        for (const auto& variant : all) {
            bool has_nan = false;
            args.has_nan = &has_nan;
            check::describe(name_of(variant.isa), ", NaN at ", at, ", ", text(args));
            variant.run(args);
            CHECK(has_nan);
        }
    }
}

TEST("pack: nothing to pack") {
    for (const auto& variant : variants()) {
        PackArgs args;
        bool has_nan = false;
        args.batch = 0;
        args.has_nan = &has_nan;
        args.threads = one_thread();
        check::describe(name_of(variant.isa), ", empty batch");
        variant.run(args);
        CHECK(!has_nan);
    }
}

TEST("arrange_kernels: rows obey the packing law") {
    Random random(3);
    for (int i = 0; i < cases(300); ++i) {
        const DenseConv dense = random_conv(random, {20000});
        const auto& g = dense.geometry;
        check::describe(dense.text());
        PackArgs args;  // every kernel packed as an image of kernel_h x kernel_w pixels
        std::vector<float> values(static_cast<size_t>(dense.w.elements));
        std::vector<uint64_t> expected, pixels, rows;
        for (int p = 0; p < dense.w.planes; ++p) {
            DenseConv plane = dense;
            plane.w.planes = 1;
            plane.w.bits.assign(dense.w.bits.begin() + p * dense.w.elements,
                                dense.w.bits.begin() + (p + 1) * dense.w.elements);
            for (size_t e = 0; e < values.size(); ++e) values[e] = plane.w.bits[e] ? 1.0f : -1.0f;
            args.x = values.data();
            args.batch = g.out_channels;
            args.channels = g.group_channels();
            args.pixels = g.taps();
            args.channels_per_array = dense.channels_per_array;
            std::vector<uint64_t> packed(static_cast<size_t>(args.plane_words()));
            bool has_nan = false;
            args.out = packed.data();
            args.has_nan = &has_nan;
            pack_reference(args);
            pixels.insert(pixels.end(), packed.begin(), packed.end());
            const auto law = plane.packed_w();
            expected.insert(expected.end(), law.begin(), law.end());
        }
        rows.resize(expected.size());
        arrange_kernels(pixels.data(), dense.w.planes, g, layout_of(g, dense.channels_per_array, dense.tap),
                        rows.data());
        CHECK_SAME(rows, expected);
#if defined(BNNKIT_EMULATED_CUDA)
        std::fill(rows.begin(), rows.end(), ~uint64_t{0});
        arrange_kernels_cuda(pixels.data(), dense.w.planes, g, layout_of(g, dense.channels_per_array, dense.tap),
                             rows.data(), EmulatedDevice(0));
        CHECK_SAME(rows, expected);
#endif
    }
}

int main() { return check::run_tests(); }
