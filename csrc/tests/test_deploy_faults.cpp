// Packed networks with faults, against loops over single bits and single conversions, for every instruction set.
#include <array>
#include <memory>

#include "../core/counter.h"
#include "../deploy/faulty_converter.h"
#include "../deploy/finish.h"
#include "../deploy/slots.h"
#include "../deploy/weight_bits.h"
#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "random_converter.h"
#include "usable_codes.h"

using namespace bnnkit;
using namespace bnnkit::deploy;

namespace {

uint32_t hash(std::initializer_list<int64_t> keys, uint32_t h) {
    for (int64_t key : keys) {
        h = (h ^ static_cast<uint32_t>(key)) + 0x9e3779b9u;
        h = (h ^ (h >> 16)) * 0x85ebca6bu;
        h = (h ^ (h >> 13)) * 0xc2b2ae35u;
        h ^= h >> 16;
    }
    return h;
}

BitFaults random_bit_faults(Random& random, std::initializer_list<BitKind> kinds, int bits) {
    static constexpr uint64_t kRates[] = {1, uint64_t{1} << 29, uint64_t{1} << 31, uint64_t{1} << 32};
    BitFaults faults;
    faults.kind = kinds.begin()[random.between(0, static_cast<int64_t>(kinds.size()) - 1)];
    faults.below = random.any_of(kRates);
    faults.state = static_cast<uint32_t>(random.bits());
    faults.bit = random.chance(60) ? -1 : static_cast<int>(random.between(0, bits - 1));
    return faults;
}

// What a bit becomes that has hash h.
int hit(const BitFaults& faults, int place, int bit, uint32_t h) {
    if (h >= faults.below || (faults.bit >= 0 && faults.bit != place)) return bit;
    switch (faults.kind) {
        case BitKind::flip: return 1 - bit;
        case BitKind::stuck0: return 0;
        case BitKind::stuck1: return 1;
        case BitKind::random: return hash({1}, h) & 1;
    }
    return bit;
}

std::vector<int64_t> random_numbers(Random& random, int64_t images) {
    std::vector<int64_t> numbers;
    for (int64_t i = 0; i < images; ++i) numbers.push_back(random.between(0, 60000));
    return numbers;
}

::DenseConv ungrouped_conv(Random& random, const Limits& limits) {
    for (;;) {
        const ::DenseConv dense = random_conv(random, limits);
        if (dense.geometry.groups == 1) return dense;
    }
}

// The bits of a dense operand as a layer before leaves them.
Buffer buffer_of(const Operand& x, const Shape& shape, int64_t images) {
    Buffer buffer;
    buffer.shape = shape;
    buffer.planes = x.planes;
    buffer.bits = Memory(x.planes * images * shape.pixels() * shape.words() * 8 + 64);
    const int64_t elements = shape.channels * shape.pixels();
    for (int p = 0; p < x.planes; ++p)
        for (int64_t i = 0; i < images * elements; ++i) {
            const int64_t image = i / elements, c = i % elements / shape.pixels(), pixel = i % shape.pixels();
            uint64_t* words = buffer.plane(p, images) + (image * shape.pixels() + pixel) * shape.words();
            words[c / 64] |= static_cast<uint64_t>(x.bits[static_cast<size_t>(p * x.elements + i)]) << (c % 64);
        }
    return buffer;
}

// [planes][pixels][chunks] -> [planes][chunks][pixels]
std::vector<uint64_t> by_chunk(const std::vector<uint64_t>& x, int64_t planes, int64_t pixels, int64_t chunks) {
    std::vector<uint64_t> y(x.size());
    for (int64_t i = 0; i < static_cast<int64_t>(x.size()); ++i) {
        const int64_t plane = i / (pixels * chunks), pixel = i / chunks % pixels, chunk = i % chunks;
        y[static_cast<size_t>((plane * chunks + chunk) * pixels + pixel)] = x[static_cast<size_t>(i)];
    }
    CHECK_EQ(static_cast<int64_t>(x.size()), planes * pixels * chunks);
    return y;
}

}  // namespace

TEST("deploy: the counter is that of bnnkit/counter.py") {
    CHECK_EQ(counter_step(counter_step(counter_step(0u, 1u), 2u), 3u), 0xdb7b3adbu);
    CHECK_EQ(hash({1, 2, 3}, 0), 0xdb7b3adbu);
}

TEST("deploy: faults in the bits that a layer reads") {
    Random random(1);
    for (int i = 0; i < 300; ++i) {
        ::DenseConv dense = ungrouped_conv(random, {20000});
        const ConvGeometry& g = dense.geometry;
        const bool flattens = random.chance(25), has_faults = random.chance(90);
        const Shape shape{g.channels, g.height, g.width};
        const Buffer source = buffer_of(dense.x, shape, g.batch);
        if (flattens) {  // all values of an image become one pixel's channels
            dense.geometry.channels = g.channels * g.height * g.width;
            dense.geometry.height = dense.geometry.width = 1;
            dense.channels_per_array = random.between(1, g.channels);
        }
        const ArrayLayout layout = layout_of(g, dense.channels_per_array, dense.tap);
        const std::vector<int64_t> numbers = random_numbers(random, g.batch);
        std::optional<BitFaults> faults;
        Hits hits;
        if (has_faults) {
            faults = random_bit_faults(random, {BitKind::flip, BitKind::stuck0, BitKind::stuck1, BitKind::random},
                                       dense.x.planes);
            const int64_t elements = dense.x.elements / g.batch;
            for (int p = 0; p < dense.x.planes; ++p)
                for (int64_t e = 0; e < dense.x.elements; ++e) {
                    uint8_t& bit = dense.x.bits[static_cast<size_t>(p * dense.x.elements + e)];
                    const int64_t number = numbers[static_cast<size_t>(e / elements)];
                    const uint32_t h = hash({number, p, e % elements}, faults->state);
                    const auto read = static_cast<uint8_t>(hit(*faults, p, bit, h));
                    if (faults->bit < 0 || faults->bit == p) hits += {1, h < faults->below, read != bit};
                    bit = read;
                }
        }
        const bool in_planes = !flattens && layout.chunks() > 1 && gathers_pixels(g, layout) && random.chance(70);
        std::vector<uint64_t> expected = dense.packed_x();
        if (in_planes) expected = by_chunk(expected, dense.x.planes, g.batch * shape.pixels(), layout.chunks());
        for (const NamedCode& named : usable_codes()) {
            const Slots slots(shape, layout, dense.x.planes, flattens, in_planes, faults, named.code());
            const Memory scratch(slots.scratch_bytes(g.batch));
            Workspace workspace;
            std::copy(numbers.begin(), numbers.end(), workspace.numbers.begin());
            const std::vector<uint64_t> before(source.plane(0, g.batch), source.plane(dense.x.planes, g.batch));
            const uint64_t* found = slots.fill(workspace, source, g.batch, scratch.data());
            check::describe(name_of(named.isa), ", ", dense.text());
            CHECK_SAME(std::vector<uint64_t>(found, found + expected.size()), expected);
            const Hits counted = slots.take_hits();
            CHECK_EQ(counted.bits, hits.bits);
            CHECK_EQ(counted.faulty, hits.faulty);
            CHECK_EQ(counted.wrong, hits.wrong);
            CHECK_EQ(slots.take_hits().bits, 0);
            CHECK_SAME(std::vector<uint64_t>(source.plane(0, g.batch), source.plane(dense.x.planes, g.batch)), before);
        }
    }
}

TEST("deploy: weight bits arranged for arrays") {
    Random random(2);
    for (int i = 0; i < 100; ++i) {
        const ::DenseConv dense = ungrouped_conv(random, {20000});
        std::vector<uint8_t> bits(dense.w.bits.size() / 8 + 1, 0);
        for (size_t b = 0; b < dense.w.bits.size(); ++b)
            bits[b / 8] = static_cast<uint8_t>(bits[b / 8] | dense.w.bits[b] << (b % 8));
        const ArrayLayout layout = layout_of(dense.geometry, dense.channels_per_array, dense.tap);
        check::describe(dense.text());
        CHECK_SAME(arranged(bits.data(), dense.w.planes, dense.geometry.out_channels, layout), dense.packed_w());
    }
}

namespace {

ConverterFaults random_converter_faults(Random& random, int64_t columns, const Table& table) {
    ConverterFaults faults;
    const auto levels = static_cast<int>(table.levels.size());
    for (int64_t threshold : table.thresholds)  // somewhere between two integers
        faults.thresholds.push_back(threshold * (1 << kFractionBits) - random.between(0, (1 << kFractionBits) - 1));
    std::sort(faults.thresholds.begin(), faults.thresholds.end());
    const auto fill = [&](auto& values, int64_t low, int64_t high, int64_t count) {
        for (int64_t i = 0; i < count; ++i)
            values.push_back(
                static_cast<typename std::decay_t<decltype(values)>::value_type>(random.between(low, high)));
    };
    const int64_t one = 1 << kFractionBits;
    if (random.chance(50)) fill(faults.gain, -one / 4, 2 * one, columns);
    if (random.chance(50)) fill(faults.offset, -20 * one, 20 * one, columns);
    if (random.chance(50)) fill(faults.noise, -30 * one, 30 * one, kQuantiles);
    if (random.chance(50)) fill(faults.stuck, -1, levels - 1, columns);
    int bits = 0;
    while (1 << bits < levels) ++bits;
    if (random.chance(70) && bits > 0) faults.bits = random_bit_faults(random, {BitKind::flip, BitKind::random}, bits);
    faults.state = static_cast<uint32_t>(random.bits());
    return faults;
}

// The level of one conversion, by the definition.
int64_t converted(const ConverterFaults& f, const Table& table, int64_t sum, int64_t column, int64_t number,
                  int64_t place, int64_t output) {
    const auto at = static_cast<size_t>(column);
    int64_t v = sum * (f.gain.empty() ? 1 << kFractionBits : f.gain[at]);
    if (!f.offset.empty()) v += f.offset[at];
    if (!f.noise.empty()) v += f.noise[hash({number, place, output}, f.state) >> 20];
    const auto levels = static_cast<int64_t>(table.levels.size());
    int64_t code = 0, bits = 0;
    for (int64_t threshold : f.thresholds) code += v >= threshold;
    while (1 << bits < levels) ++bits;
    for (int b = 0; b < bits; ++b) {
        const uint32_t h = hash({0xffffffff, number, place, output * bits + b}, f.state);
        const int bit = hit(f.bits, b, static_cast<int>(code >> b & 1), h);
        code = (code & ~(int64_t{1} << b)) | int64_t{bit} << b;
    }
    code = std::min(code, levels - 1);
    if (!f.stuck.empty() && f.stuck[at] >= 0) code = f.stuck[at];
    return table.levels[static_cast<size_t>(code)];
}

}  // namespace

TEST("deploy: arrays with faulty sums and converters") {
    Random random(3);
    int several_chunks = 0;
    for (int i = 0; i < 200; ++i) {
        const ::DenseConv dense = ungrouped_conv(random, {40000});
        const PackedConv packed(dense, one_thread());
        const ConvGeometry& g = packed.conv.geometry;
        const Table table = random_table(random, dense.bound(), static_cast<double>(dense.bound()), dense.arrays());
        const ConverterFaults faults = random_converter_faults(random, dense.arrays() * g.out_channels, table);
        const FaultyConverter converter(faults, table.levels, packed.conv.layout, g.out_channels);
        const BorderClasses borders(g, packed.conv.layout);
        const std::vector<int64_t> numbers = random_numbers(random, g.batch);
        std::vector<float> expected(packed.outputs());
        dense.for_each_output([&](int64_t index, int64_t output, const std::vector<int64_t>& sums) {
            const int64_t image = index / (g.out_pixels() * g.out_channels), pixel = index % g.out_pixels();
            int64_t total = 0;
            for (int64_t s = 0; s < dense.arrays(); ++s)
                total += converted(faults, table, sums[static_cast<size_t>(s)], s * g.out_channels + output,
                                   numbers[static_cast<size_t>(image)], pixel * dense.arrays() + s, output);
            expected[static_cast<size_t>((image * g.out_pixels() + pixel) * g.out_channels + output)] =
                static_cast<float>(total);
        });
        for (const NamedCode& named : usable_codes()) {
            const Code& code = named.code();
            const Panels panels(packed.conv, code.panel_columns);
            const std::unique_ptr<ArrayCode> array(
                code.new_array({packed.conv, borders, panels, nullptr, {}, &converter.plan()}));
            const Memory scratch(array->scratch_bytes());
            const Shape shape{g.out_channels, g.batch * g.out_pixels(), 1};
            const Memory floats(float_bytes(shape, 1));
            const auto* values = reinterpret_cast<float*>(floats.data());
            const auto run = [&](const ArrayCode& some, const uint64_t* x) {
                some.run({x, g.batch, numbers.data()}, SumScale{},
                         unfinished(shape, reinterpret_cast<float*>(floats.data())), scratch.data());
                std::vector<float> found;
                for (int64_t p = 0; p < shape.pixels(); ++p)
                    found.insert(found.end(), values + p * shape.stride(),
                                 values + p * shape.stride() + shape.channels);
                return found;
            };
            check::describe(name_of(named.isa), ", ", dense.text(), ", ", table.text());
            CHECK_SAME(run(*array, packed.conv.x), expected);
            if (!gathers_pixels(g, packed.conv.layout)) continue;
            several_chunks += packed.conv.layout.chunks() > 1;
            BinaryConv in_planes = packed.conv;
            in_planes.x_by_chunk = true;
            const std::unique_ptr<ArrayCode> other(
                code.new_array({in_planes, borders, panels, nullptr, {}, &converter.plan()}));
            const std::vector<uint64_t> x =
                by_chunk(packed.x, dense.x.planes, g.batch * g.height * g.width, packed.conv.layout.chunks());
            check::describe("by chunk, ", name_of(named.isa), ", ", dense.text());
            CHECK_SAME(run(*other, x.data()), expected);
        }
    }
    CHECK(several_chunks > 20);
}

TEST("deploy: converter faults that do not fit are refused") {
    const ArrayLayout layout{100, 1, 50, false};
    const std::vector<int32_t> levels{-1, 1};
    const auto make = [&](ConverterFaults faults) { FaultyConverter(faults, levels, layout, 3); };
    ConverterFaults faults;
    CHECK_THROWS(make(faults), std::invalid_argument, "thresholds");
    faults.thresholds.assign(1, 0);
    faults.gain.assign(5, 0);
    CHECK_THROWS(make(faults), std::invalid_argument, "gain");
    faults.gain.clear();
    faults.bits.kind = BitKind::stuck1;
    CHECK_THROWS(make(faults), std::invalid_argument, "flipped or random");
    faults.bits.kind = BitKind::random;
    faults.stuck.assign(6, 2);
    CHECK_THROWS(make(faults), std::invalid_argument, "stuck");
    faults.stuck.assign(6, -1);
    faults.noise.assign(10, 0);
    CHECK_THROWS(make(faults), std::invalid_argument, "4096");
}

int main() { return check::run_tests(); }
