// What packed networks are run with: every instruction set against the portable one, bit for bit.
#include <limits>
#include <memory>
#include <optional>

#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "random_converter.h"
#include "turned_buffers.h"
#include "usable_codes.h"

using namespace bnnkit;
using namespace bnnkit::deploy;

namespace {

int64_t padded(int64_t channels, int64_t multiple) { return ceil_div(channels, multiple) * multiple; }

std::vector<float> random_floats(Random& random, int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = random.chance(10) ? 0.0f : random.real(-2, 2);
    return values;
}

// A random way to finish `pixels` pixels, and the memory it reads.
struct Ending {
    Shape shape;  // of all pixels together
    std::vector<float> residual, scale, shift;
    std::vector<int32_t> sum_thresholds, flip;
    Finishing finishing;

    Ending(Random& random, int64_t channels, int64_t pixels, bool of_sums) : shape{channels, pixels, 1} {
        Finishing& f = finishing;
        f.channels = channels;
        f.stride = shape.stride();
        f.words = shape.words();
        f.strict = random.chance(70);
        const bool block_end = random.chance(30);  // all of it, as at the end of a residual block
        if (block_end || !of_sums || random.chance(60)) {
            f.planes = block_end ? 1 : static_cast<int>(random.between(1, 4));
            f.thermometer = f.planes == 2 && random.chance(50);
            f.threshold_count = f.thermometer ? f.planes : (1 << f.planes) - 1;
            std::vector<float> thresholds = random_floats(random, f.threshold_count);
            std::sort(thresholds.begin(), thresholds.end());
            std::copy(thresholds.begin(), thresholds.end(), f.thresholds);
        }
        if (of_sums && f.planes && random.chance(50)) {
            f.padded_channels = padded(channels, kPanelChannels);
            for (int64_t i = 0; i < f.padded_channels; ++i) flip.push_back(random.chance(50) ? -1 : 0);
            for (int64_t i = 0; i < f.threshold_count * f.padded_channels; ++i)
                sum_thresholds.push_back(static_cast<int32_t>(random.between(-30, 30)));
            f.sum_thresholds = sum_thresholds.data();
            f.flip = flip.data();
            return;
        }
        if (block_end || random.chance(50)) {
            residual = random_floats(random, pixels * f.stride);
            f.residual = residual.data();
        }
        if (block_end || random.chance(50)) {
            scale = random_floats(random, padded(channels, kPanelChannels));
            shift = random_floats(random, padded(channels, kPanelChannels));
            f.scale = scale.data(), f.shift = shift.data();
        }
        f.clamp = block_end || random.chance(50);
        keeps_floats = block_end || !f.planes || random.chance(50);
    }
    Ending(const Ending&) = delete;

    struct Result {
        std::vector<float> floats;  // of the channels there are
        std::vector<uint64_t> bits;
    };

    template <class Run>
    Result run(Run&& body) const {
        std::vector<float> floats(static_cast<size_t>(shape.pixels() * shape.stride()));
        Result result{{},
                      std::vector<uint64_t>(static_cast<size_t>(finishing.planes * shape.pixels() * shape.words()))};
        Finishing f = finishing;
        if (keeps_floats) f.floats = floats.data();
        for (int p = 0; p < f.planes; ++p) f.bits[p] = result.bits.data() + p * shape.pixels() * shape.words();
        body(f);
        result.floats = of_channels(floats);
        return result;
    }

    // The same with the pixels of several images abreast.
    template <class Run>
    Result run_abreast(int64_t images, Run&& body) const {
        const Shape one{shape.channels, shape.pixels() / images, 1};
        const int64_t lanes = Abreast::of(images).lanes, plane_words = plane_words_abreast(one, images);
        std::vector<float> floats(static_cast<size_t>(one.channels * one.pixels() * lanes)), residual_abreast;
        std::vector<uint64_t> bits(static_cast<size_t>(finishing.planes * plane_words));
        Finishing f = finishing;
        f.abreast = {lanes};
        f.pixels = one.pixels();
        if (keeps_floats) f.floats = floats.data();
        if (f.residual) {
            residual_abreast = values_abreast(residual, one, images);
            f.residual = residual_abreast.data();
        }
        for (int p = 0; p < f.planes; ++p) f.bits[p] = bits.data() + p * plane_words;
        body(f);
        return {of_channels(values_together(floats, one, images)),
                turned_bits(bits, one, images, finishing.planes, false)};
    }

    std::vector<float> of_channels(const std::vector<float>& values) const {
        std::vector<float> found;
        for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i)
            if (i % shape.stride() < shape.channels) found.push_back(values[static_cast<size_t>(i)]);
        return found;
    }

    bool keeps_floats = false;
};

// body(code, finishing) for every instruction set; all must leave what the portable one leaves.
template <class Run>
void check_all(const Ending& ending, const std::string& what, Run&& body) {
    const auto expected = ending.run([&](const Finishing& f) { body(code_portable(), f); });
    for (const NamedCode& named : usable_codes()) {
        check::describe(name_of(named.isa), ", ", what);
        const auto got = ending.run([&](const Finishing& f) { body(named.code(), f); });
        CHECK_SAME(got.floats, expected.floats);
        CHECK_SAME(got.bits, expected.bits);
    }
}

// body(code, values, finishing) with values [images][pixels][stride] of a shape as they are, and with images abreast: every
// instruction set must leave the same.
template <class Run>
void check_both_ways(const Ending& ending, const Shape& shape, int64_t images, const std::vector<float>& values,
                     const std::string& what, Run&& body) {
    check_all(ending, what, [&](const Code& code, const Finishing& f) { body(code, values.data(), f); });
    const auto expected = ending.run([&](const Finishing& f) { body(code_portable(), values.data(), f); });
    const auto abreast = values_abreast(values, shape, images);
    for (const NamedCode& named : usable_codes()) {
        check::describe(name_of(named.isa), ", abreast, ", what);
        const auto got = ending.run_abreast(images, [&](const Finishing& f) { body(named.code(), abreast.data(), f); });
        CHECK_SAME(got.floats, expected.floats);
        CHECK_SAME(got.bits, expected.bits);
    }
}

::DenseConv random_ungrouped_conv(Random& random, const Limits& limits) {
    for (;;) {
        const ::DenseConv dense = random_conv(random, limits);
        if (dense.geometry.groups == 1) return dense;
    }
}

}  // namespace

TEST("deploy: finishing, pooling and means") {
    Random random(1);
    for (int i = 0; i < 300; ++i) {
        const Shape shape{random.chance(50) ? random.between(1, 20) : random.between(1, 140), random.between(2, 7),
                          random.between(2, 7)};
        const int64_t images = random.chance(90) ? random.between(1, 3) : random.between(4, kMostVerticalImages);
        const auto values = random_floats(random, images * shape.pixels() * shape.stride());
        const std::string what = std::to_string(images) + " of " + std::to_string(shape.channels) + " channels";
        check_both_ways(
            Ending(random, shape.channels, images * shape.pixels(), false), shape, images, values, what + ", finish",
            [&](const Code& code, const float* v, const Finishing& f) { code.finish(v, images * shape.pixels(), f); });
        check_both_ways(Ending(random, shape.channels, images * (shape.height / 2) * (shape.width / 2), false), shape,
                        images, values, what + ", pool",
                        [&](const Code& code, const float* v, const Finishing& f) { code.pool(v, shape, images, f); });
        check_both_ways(Ending(random, shape.channels, images, false), shape, images, values, what + ", mean",
                        [&](const Code& code, const float* v, const Finishing& f) { code.mean(v, shape, images, f); });
    }
}

TEST("deploy: values and bits are turned") {
    Random random(5);
    for (int i = 0; i < 200; ++i) {
        const Shape shape{random.chance(50) ? random.between(1, 20) : random.between(1, 140), random.between(1, 5),
                          random.between(1, 5)};
        const int64_t images = random.between(1, kMostVerticalImages);
        const auto all = random_floats(random, images * shape.pixels() * shape.stride());
        const auto abreast = values_abreast(all, shape, images), values = values_together(abreast, shape, images);
        std::vector<uint64_t> words(static_cast<size_t>(images * shape.pixels() * shape.words()));
        for (uint64_t& word : words) word = random.bits();
        const auto bits_abreast = turned_bits(words, shape, images, 1, true);
        const auto bits = turned_bits(bits_abreast, shape, images, 1, false);
        for (const NamedCode& named : usable_codes()) {
            check::describe(name_of(named.isa), ", ", images, " of ", shape.channels, " channels");
            const Code& code = named.code();
            std::vector<float> turned(abreast.size()), back(values.size());
            code.turn_values(values.data(), shape, images, true, turned.data());
            CHECK_SAME(turned, abreast);
            code.turn_values(abreast.data(), shape, images, false, back.data());
            CHECK_SAME(back, values);
            std::vector<uint64_t> turned_words(bits_abreast.size()), words_back(bits.size(), ~uint64_t{0});
            code.turn_bits(bits.data(), shape, images, true, turned_words.data());
            CHECK_SAME(turned_words, bits_abreast);
            code.turn_bits(bits_abreast.data(), shape, images, false, words_back.data());
            CHECK_SAME(words_back, bits);
        }
    }
}

TEST("deploy: convolutions of floats") {
    Random random(2);
    for (int i = 0; i < 150; ++i) {
        deploy::DenseConv conv;
        conv.geometry = random_ungrouped_conv(random, {60000}).geometry;
        conv.geometry.dilation_h = conv.geometry.dilation_w = 1;
        const ConvGeometry& g = conv.geometry;
        const Shape in{g.channels, g.height, g.width};
        const auto x = random_floats(random, g.batch * in.pixels() * in.stride());
        const int64_t outputs = padded(g.out_channels, kPanelChannels);
        std::vector<double> weights(static_cast<size_t>(outputs * g.taps() * g.channels)),
            bias(static_cast<size_t>(outputs));
        for (double& w : weights) w = random.real(-1, 1);
        for (double& b : bias) b = random.real(-1, 1);
        conv.in_stride = in.stride();
        conv.weights = weights.data();
        conv.bias = bias.data();
        const Memory scratch(dense_scratch_bytes(conv));
        check_both_ways(
            Ending(random, g.out_channels, g.batch * g.out_pixels(), false), in, g.batch, x, "convolution of floats",
            [&](const Code& code, const float* v, const Finishing& f) { code.dense(conv, v, f, scratch.data()); });
    }
}

TEST("deploy: array convolutions") {
    Random random(3);
    for (int i = 0; i < 200; ++i) {
        const bool converts = random.chance(70);
        const ::DenseConv dense = random_ungrouped_conv(random, {60000, !converts, !converts});
        const PackedConv packed(dense, one_thread());
        const ConvGeometry& g = packed.conv.geometry;
        const Table table = random_table(random, dense.bound(), static_cast<double>(dense.bound()), dense.arrays());
        AdcArgs args;
        args.conv = packed.conv;
        args.thresholds = table.thresholds.data();
        args.levels = table.levels.data();
        args.level_count = static_cast<int>(table.levels.size());
        const auto bias = random_floats(random, padded(g.out_channels, kPanelChannels));
        const SumScale scale{static_cast<double>(random.real(-1, 1)), static_cast<double>(random.real(-9, 9)),
                             random.chance(50) ? bias.data() : nullptr, false};
        const SumScale exact{2.0, 0, scale.bias, true};
        const BorderClasses borders(g, packed.conv.layout);
        const bool in_float = !converts && random.chance(50);
        check_all(Ending(random, g.out_channels, g.batch * g.out_pixels(), true),
                  dense.text() + (converts ? ", " + table.text() : ""), [&](const Code& code, const Finishing& f) {
                      const Panels panels(packed.conv, code.panel_columns);
                      const CountConverter converter(args, borders, code.converter_shift, code.converter_has_lookup);
                      const SumConverter of_sums(args, false);
                      const bool by_bytes = converts && code.products_by_bytes > 0 && random.chance(50);
                      const std::unique_ptr<ArrayCode> array(code.new_array({packed.conv,
                                                                             borders,
                                                                             panels,
                                                                             converts ? &converter : nullptr,
                                                                             {},
                                                                             nullptr,
                                                                             by_bytes ? &of_sums : nullptr}));
                      const Memory scratch(array->scratch_bytes());
                      array->run({packed.conv.x, g.batch}, in_float ? exact : scale, f, scratch.data());
                  });
    }
}

namespace {

// [planes][images][pixels][words of all channels]
std::vector<uint64_t> by_pixel(const ::DenseConv& dense) {
    const ConvGeometry& g = dense.geometry;
    const int64_t words = words_for(g.channels), pixels = g.height * g.width;
    std::vector<uint64_t> found(static_cast<size_t>(dense.x.planes * g.batch * pixels * words));
    for (int64_t p = 0; p < dense.x.planes; ++p)
        for (int64_t image = 0; image < g.batch; ++image)
            for (int64_t c = 0; c < g.channels; ++c)
                for (int64_t i = 0; i < pixels; ++i)
                    if (dense.x.bits[static_cast<size_t>(p * dense.x.elements + dense.x_at(image, c, 0, 0) + i)])
                        set_bit(found, ((p * g.batch + image) * pixels + i) * words, c);
    return found;
}

// One image, or up to a word of them, with one plane of weights.
::DenseConv many_images(Random& random, bool one_array, bool gated) {
    ::DenseConv dense = random_ungrouped_conv(random, {4000, true, one_array});
    dense.geometry.batch = random.chance(20) ? 1 : random.between(1, kMostVerticalImages);
    if (gated) dense.x.planes = 2;
    if (random.chance(20)) {
        dense.fill(random);
        for (auto& bit : dense.w.bits) bit = random.chance(95);
        return dense;
    }
    dense.fill(random);
    return dense;
}

// Without a table, sums themselves; their bound is that of all planes of activations.
int64_t largest_sum(const ::DenseConv& dense, const Table* table) {
    if (!table) return dense.bound() * dense.arrays();
    return largest_magnitude(table->levels.data(), table->levels.size()) * dense.arrays() *
           (dense.x.planes > 1 ? 3 : 1);
}

}  // namespace

TEST("deploy: vertical arrays are arrays") {
    Random random(4);
    int64_t vertical = 0, with_gates = 0, of_codes = 0, of_half_words = 0, of_short_sums = 0;
    for (int i = 0; i < 300; ++i) {
        const bool converts = random.chance(70), gated = random.chance(30);
        const ::DenseConv dense = many_images(random, !converts, gated);
        const PackedConv packed(dense, one_thread());
        const ConvGeometry& g = packed.conv.geometry;
        const auto x = turned_bits(by_pixel(dense), {g.channels, g.height, g.width}, g.batch, dense.x.planes, true);
        const int64_t bound = dense.bound() / dense.x.bound();  // of one plane
        const Table table = random_table(random, bound, static_cast<double>(bound), dense.arrays());
        AdcArgs args;
        args.conv = packed.conv;
        args.conv.x_planes = 1;
        args.thresholds = table.thresholds.data();
        args.levels = table.levels.data();
        args.level_count = converts ? static_cast<int>(table.levels.size()) : 0;
        const int64_t largest = largest_sum(dense, converts ? &table : nullptr);
        if (!VerticalPlan::suits(args, gated)) continue;
        if (gated && largest > std::numeric_limits<int32_t>::max()) continue;  // no layer has such gates
        ++vertical, with_gates += gated, of_half_words += dense.geometry.batch <= kMostVerticalImages / 2;
        std::vector<int32_t> thresholds;
        for (int64_t o = 0; gated && o < padded(g.out_channels, kPanelChannels); ++o)
            thresholds.push_back(static_cast<int32_t>(random.between(-20, 20)));
        const GatePlan gate{gated ? thresholds.data() : nullptr, random.chance(50)};
        const auto bias = random_floats(random, padded(g.out_channels, kPanelChannels));
        const SumScale scale{static_cast<double>(random.real(-1, 1)), static_cast<double>(random.real(-9, 9)),
                             random.chance(50) ? bias.data() : nullptr, false};
        const BorderClasses borders(g, packed.conv.layout);
        const Ending ending(random, g.out_channels, g.batch * g.out_pixels(), true);
        Gates expected_gates;
        const auto expected = ending.run([&](const Finishing& f) {
            const Code& code = code_portable();
            const Panels panels(packed.conv, code.panel_columns);
            std::optional<CountConverter> counts;
            if (converts) counts.emplace(args, borders, code.converter_shift, code.converter_has_lookup);
            const ArrayPlan plan{packed.conv, borders, panels, counts ? &*counts : nullptr, gate};
            const std::unique_ptr<ArrayCode> array((gated ? code.new_gated_array : code.new_array)(plan));
            const Memory scratch(array->scratch_bytes());
            array->run({packed.conv.x, g.batch}, scale, f, scratch.data());
            expected_gates = array->take_gates();
        });
        for (const NamedCode& named : usable_codes()) {
            check::describe(name_of(named.isa), ", ", dense.text() + (converts ? ", " + table.text() : ""));
            const Code& code = named.code();
            VerticalCodes bits;
            if (gated) bits = {thresholds.data(), nullptr};
            if (ending.finishing.sum_thresholds && ending.finishing.threshold_count == 1 && !gated)
                bits = {ending.finishing.sum_thresholds, ending.finishing.flip}, ++of_codes;
            // As if sums were larger: they are finished in as many bits as that would take.
            const int64_t assumed = random.chance(50) ? int64_t{1} << 20 : largest;
            of_short_sums += assumed < 1 << 15;
            const VerticalPlan plan(args, borders, bits, assumed, code.vertical_columns);
            const std::unique_ptr<ArrayCode> array(code.new_vertical_array({plan.lists(), gated}));
            const Memory scratch(array->scratch_bytes());
            const auto got = ending.run_abreast(
                g.batch, [&](const Finishing& f) { array->run({x.data(), g.batch}, scale, f, scratch.data()); });
            CHECK_SAME(got.floats, expected.floats);
            CHECK_SAME(got.bits, expected.bits);
            const Gates gates = array->take_gates();
            CHECK(gates.open == expected_gates.open && gates.outputs == expected_gates.outputs);
        }
    }
    CHECK(vertical > 150 && with_gates > 40 && of_codes > 20 && of_short_sums > 50);
    CHECK(of_half_words > 50 && vertical - of_half_words > 50);
}

int main() { return check::run_tests(); }
