// Ends of blocks in packed networks, against loops over single values: integers with shifts and additions, precision gates,
// sums of values with signs. Every instruction set must leave the same.
#include <memory>

#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "random_converter.h"
#include "turned_buffers.h"
#include "usable_codes.h"

using namespace bnnkit;
using namespace bnnkit::deploy;

namespace {

int64_t padded(int64_t channels) { return ceil_div(channels, kPanelChannels) * kPanelChannels; }

// A way to end `pixels` pixels of integers, and the same for one value.
struct IntegerEnding {
    static constexpr int kDigits = 4;
    Shape shape;
    std::vector<int32_t> shifts, negative, mask, bias_in, right, left, bias_out, thresholds, residual;
    int lift;

    IntegerEnding(Random& random, int64_t channels, int64_t pixels)
        : shape{channels, pixels, 1}, lift(static_cast<int>(random.between(0, 8))) {
        const auto fill = [&](std::vector<int32_t>& values, int64_t count, int64_t low, int64_t high) {
            for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<int32_t>(random.between(low, high)));
        };
        const int64_t wide = padded(channels);
        fill(shifts, kDigits * wide, 0, 31);
        fill(negative, kDigits * wide, -1, 0);
        fill(mask, kDigits * wide, -1, 0);
        for (size_t i = 0; i < mask.size(); ++i) negative[i] &= mask[i];
        if (random.chance(70)) {
            fill(bias_in, wide, -3000, 3000);
            fill(right, wide, 0, 12);
            fill(left, wide, 0, 3);
            fill(bias_out, wide, -3000, 3000);
        }
        if (random.chance(70)) fill(thresholds, wide, -2000, 2000);
        if (random.chance(70)) fill(residual, pixels * shape.stride(), -100000, 100000);
    }

    IntegerFinishing parameters() const {
        const auto data = [](const std::vector<int32_t>& values) { return values.empty() ? nullptr : values.data(); };
        IntegerFinishing f;
        f.digits = kDigits, f.lift = lift, f.padded_channels = padded(shape.channels);
        f.shifts = data(shifts), f.negative = data(negative), f.mask = data(mask);
        f.bias_in = data(bias_in), f.right = data(right), f.left = data(left), f.bias_out = data(bias_out);
        f.thresholds = data(thresholds);
        f.residual = data(residual);
        return f;
    }

    int64_t scaled(int64_t sum, int64_t channel) const {
        int64_t total = 0;
        for (int d = 0; d < kDigits; ++d) {
            const auto at = static_cast<size_t>(d * padded(shape.channels) + channel);
            const int64_t term = (sum * (int64_t{1} << lift)) >> shifts[at];
            total += mask[at] == 0 ? 0 : negative[at] ? -term : term;
        }
        return total;
    }

    int64_t ended(int64_t value, int64_t pixel, int64_t channel) const {
        const auto c = static_cast<size_t>(channel);
        if (!residual.empty()) value += residual[static_cast<size_t>(pixel * shape.stride() + channel)];
        if (bias_in.empty()) return value;
        value += bias_in[c];
        if (value < 0) value = (value >> right[c]) * (int64_t{1} << left[c]);
        return value + bias_out[c];
    }

    // value(pixel, channel) of every code must be what `expected` says, and its bit, too. `images`: not 0 where the pixels of
    // that many are abreast.
    template <class Run, class Expected>
    void check(const std::string& what, int64_t images, const Run& body, const Expected& expected) const {
        const Shape one{shape.channels, images ? shape.pixels() / images : 0, 1};
        for (const NamedCode& named : usable_codes()) {
            std::vector<int32_t> values(static_cast<size_t>(shape.pixels() * shape.stride())), residual_abreast;
            std::vector<uint64_t> bits(static_cast<size_t>(shape.pixels() * shape.words()));
            Finishing f;
            f.channels = shape.channels, f.stride = shape.stride(), f.words = shape.words();
            f.planes = thresholds.empty() ? 0 : 1;
            f.integers = parameters();
            if (images) {
                f.abreast = Abreast::of(images), f.pixels = one.pixels();
                values.resize(static_cast<size_t>(one.channels * one.pixels() * f.abreast.lanes));
                bits.resize(static_cast<size_t>(plane_words_abreast(one, images)));
                if (!residual.empty()) residual_abreast = values_abreast(residual, one, images);
                if (!residual.empty()) f.integers.residual = residual_abreast.data();
            }
            f.bits[0] = bits.data();
            f.integers.values = values.data();
            body(named.code(), f);
            if (images) {
                values = values_together(values, one, images);
                bits = turned_bits(bits, one, images, 1, false);
            }
            check::describe(name_of(named.isa), images ? ", abreast, " : ", ", what);
            std::vector<int64_t> got, wanted;
            std::vector<bool> got_bits, wanted_bits;
            for (int64_t p = 0; p < shape.pixels(); ++p)
                for (int64_t c = 0; c < shape.channels; ++c) {
                    wanted.push_back(expected(p, c));
                    got.push_back(values[static_cast<size_t>(p * shape.stride() + c)]);
                    if (thresholds.empty()) continue;
                    wanted_bits.push_back(wanted.back() >= thresholds[static_cast<size_t>(c)]);
                    got_bits.push_back(bits[static_cast<size_t>(p * shape.words() + c / 64)] >> (c % 64) & 1);
                }
            CHECK_SAME(got, wanted);
            CHECK_SAME(got_bits, wanted_bits);
        }
    }
};

::DenseConv ungrouped_conv(Random& random, const Limits& limits) {
    for (;;) {
        const ::DenseConv dense = random_conv(random, limits);
        if (dense.geometry.groups == 1) return dense;
    }
}

// Sums of a convolution by pixel and output, after the converter if there is one.
std::vector<int64_t> sums_of(const ::DenseConv& dense, const Table* table) {
    const ConvGeometry& g = dense.geometry;
    std::vector<int64_t> sums(static_cast<size_t>(g.batch * g.out_pixels() * g.out_channels));
    dense.for_each_output([&](int64_t index, int64_t output, const std::vector<int64_t>& partial) {
        int64_t total = 0;
        for (int64_t sum : partial) {
            size_t level = 0;
            if (table)
                while (level < table->thresholds.size() && sum >= table->thresholds[level]) ++level;
            total += table ? table->levels[level] : sum;
        }
        const int64_t image = index / (g.out_pixels() * g.out_channels), pixel = index % g.out_pixels();
        sums[static_cast<size_t>((image * g.out_pixels() + pixel) * g.out_channels + output)] = total;
    });
    return sums;
}

::DenseConv plane_of(const ::DenseConv& dense, int plane) {
    ::DenseConv one = dense;
    const auto first = dense.x.bits.begin() + plane * dense.x.elements;
    one.x.planes = 1;
    one.x.bits.assign(first, first + dense.x.elements);
    return one;
}

struct Converter {
    Table table;
    AdcArgs args;

    Converter(Random& random, const ::DenseConv& dense, const BinaryConv& conv)
        : table(random_table(random, dense.bound(), static_cast<double>(dense.bound()), dense.arrays())) {
        for (int32_t& level : table.levels) level %= 50;  // lifted sums must fit 32 bits
        args.conv = conv;
        args.conv.x_planes = 1;
        args.thresholds = table.thresholds.data();
        args.levels = table.levels.data();
        args.level_count = static_cast<int>(table.levels.size());
    }
};

}  // namespace

TEST("deploy: blocks of integers") {
    Random random(1);
    for (int i = 0; i < 200; ++i) {
        const bool converts = random.chance(40);
        ::DenseConv dense = ungrouped_conv(random, {60000, true, !converts});
        const PackedConv packed(dense, one_thread());
        const ConvGeometry& g = packed.conv.geometry;
        const Converter converter(random, dense, packed.conv);
        const BorderClasses borders(g, packed.conv.layout);
        const auto sums = sums_of(dense, converts ? &converter.table : nullptr);
        const IntegerEnding ending(random, g.out_channels, g.batch * g.out_pixels());
        ending.check(
            dense.text(), 0,
            [&](const Code& code, const Finishing& f) {
                const Panels panels(packed.conv, code.panel_columns);
                const CountConverter counts(converter.args, borders, code.converter_shift, code.converter_has_lookup);
                const std::unique_ptr<ArrayCode> array(
                    code.new_integer_array({packed.conv, borders, panels, converts ? &counts : nullptr, {}}));
                const Memory scratch(array->scratch_bytes());
                array->run({packed.conv.x, g.batch}, SumScale{}, f, scratch.data());
            },
            [&](int64_t pixel, int64_t channel) {
                const int64_t sum = sums[static_cast<size_t>(pixel * g.out_channels + channel)];
                return ending.ended(ending.scaled(sum, channel), pixel, channel);
            });
    }
}

TEST("deploy: integers that are values already, and sums of values with signs") {
    Random random(2);
    for (int i = 0; i < 200; ++i) {
        const int64_t channels = random_channels(random), outputs = random_channels(random);
        const int64_t images = random.chance(80) ? random.between(1, 4) : random.between(5, kMostVerticalImages);
        const int64_t pixels = images * random.between(1, 4), stride = Shape{channels}.stride();
        std::vector<int32_t> values;
        for (int64_t v = 0; v < pixels * stride; ++v)
            values.push_back(static_cast<int32_t>(random.between(-90000, 90000)));
        const auto turned = values_abreast(values, {channels, pixels / images, 1}, images);
        const auto values_of = [&](const Finishing& f) { return f.abreast.lanes ? turned.data() : values.data(); };
        const IntegerEnding ending(random, channels, pixels);
        for (const int64_t abreast : {int64_t{0}, images})
            ending.check(
                "values", abreast,
                [&](const Code& code, const Finishing& f) { code.finish_integers(values_of(f), pixels, f); },
                [&](int64_t p, int64_t c) { return ending.ended(values[static_cast<size_t>(p * stride + c)], p, c); });

        std::vector<int32_t> masks(static_cast<size_t>(padded(outputs) * channels));
        const auto mask_at = [&](int64_t output, int64_t channel) -> int32_t& {
            const int64_t panel = output / kPanelChannels, column = output % kPanelChannels;
            return masks[static_cast<size_t>((panel * channels + channel) * kPanelChannels + column)];
        };
        for (int64_t o = 0; o < outputs; ++o)
            for (int64_t c = 0; c < channels; ++c) mask_at(o, c) = random.chance(50) ? -1 : 0;
        SignedSums sums;
        sums.channels = channels, sums.outputs = outputs, sums.in_stride = stride;
        sums.drop = static_cast<int>(random.between(0, 3));
        sums.masks = masks.data();
        std::vector<int32_t> positive, positive_end{0};
        for (int64_t o = 0; o < outputs; ++o) {
            for (int64_t c = 0; c < channels; ++c)
                if (mask_at(o, c)) positive.push_back(static_cast<int32_t>(16 * c));
            positive_end.push_back(static_cast<int32_t>(positive.size()));
        }
        sums.positive = positive.data(), sums.positive_end = positive_end.data();
        const Memory scratch(channels * 64);
        IntegerEnding summed(random, outputs, pixels);
        summed.lift = 0;
        for (const int64_t abreast : {int64_t{0}, images})
            summed.check(
                "signed sums of " + std::to_string(channels) + " channels", abreast,
                [&](const Code& code, const Finishing& f) {
                    code.signed_sums(sums, values_of(f), pixels, f, scratch.data());
                },
                [&](int64_t p, int64_t o) {
                    int64_t sum = 0;
                    for (int64_t c = 0; c < channels; ++c) {
                        const int64_t value = values[static_cast<size_t>(p * stride + c)] >> sums.drop;
                        sum += mask_at(o, c) ? value : -value;
                    }
                    return summed.ended(summed.scaled(sum, o), p, o);
                });
    }
}

TEST("deploy: precision gates") {
    Random random(3);
    for (int i = 0; i < 200; ++i) {
        const bool converts = random.chance(40);
        ::DenseConv dense = ungrouped_conv(random, {40000, true, !converts});
        dense.x.planes = 2;
        dense.fill(random);
        const PackedConv packed(dense, one_thread());
        const ConvGeometry& g = packed.conv.geometry;
        const ::DenseConv one_plane = plane_of(dense, 0);
        const Converter converter(random, one_plane, packed.conv);
        const BorderClasses borders(g, packed.conv.layout);
        const Table* table = converts ? &converter.table : nullptr;
        const auto low = sums_of(one_plane, table), high = sums_of(plane_of(dense, 1), table);
        // Thresholds among the sums there are; some gates never open, some always.
        std::vector<int32_t> thresholds(static_cast<size_t>(padded(g.out_channels)), INT32_MAX);
        const int64_t most = int64_t{1} << 20;
        for (int64_t o = 0; o < g.out_channels; ++o) {
            const int64_t pixel = random.between(0, g.batch * g.out_pixels() - 1);
            const int64_t some = high[static_cast<size_t>(pixel * g.out_channels + o)];
            thresholds[static_cast<size_t>(o)] = static_cast<int32_t>(random.chance(10)   ? most
                                                                      : random.chance(10) ? -most
                                                                                          : some);
        }
        std::vector<float> wanted;
        int64_t open = 0;
        for (size_t v = 0; v < high.size(); ++v) {
            const bool opens = high[v] >= thresholds[v % static_cast<size_t>(g.out_channels)];
            open += opens;
            wanted.push_back(static_cast<float>(2 * high[v] + (opens ? low[v] : 0)));
        }
        const Shape shape{g.out_channels, g.batch * g.out_pixels(), 1};
        for (const NamedCode& named : usable_codes())
            for (const bool skips : {false, true}) {
                const Code& code = named.code();
                const Panels panels(packed.conv, code.panel_columns);
                const CountConverter counts(converter.args, borders, code.converter_shift, code.converter_has_lookup);
                const std::unique_ptr<ArrayCode> array(code.new_gated_array(
                    {packed.conv, borders, panels, converts ? &counts : nullptr, {thresholds.data(), skips}}));
                const Memory scratch(array->scratch_bytes());
                std::vector<float> values(static_cast<size_t>(shape.pixels() * shape.stride())), got;
                Finishing f;
                f.channels = shape.channels, f.stride = shape.stride(), f.words = shape.words();
                f.floats = values.data();
                array->run({packed.conv.x, g.batch}, SumScale{1, 0, nullptr, true}, f, scratch.data());
                for (size_t v = 0; v < values.size(); ++v)
                    if (static_cast<int64_t>(v) % shape.stride() < shape.channels) got.push_back(values[v]);
                check::describe(name_of(named.isa), skips ? ", skipping, " : ", ", dense.text());
                CHECK_SAME(got, wanted);
                const Gates gates = array->take_gates();
                CHECK_SAME((std::vector<int64_t>{gates.open, gates.outputs}),
                           (std::vector<int64_t>{open, static_cast<int64_t>(high.size())}));
                CHECK(array->take_gates().outputs == 0);
            }
    }
}

int main() { return check::run_tests(); }
