// bit_serial: the scalar reference against sums over dense bits, and every variant against the reference, bit for bit.
#include "../kernels/bit_serial/bit_serial.h"

#include <cmath>

#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

std::vector<Variant<BitSerialArgs>> variants() {
#if defined(__x86_64__)
    return usable_of<BitSerialArgs>({{Isa::avx2, bit_serial_avx2},
                                     {Isa::avx2, bit_serial_avx2_by_counting},
                                     {Isa::avx512, bit_serial_avx512},
                                     {Isa::avx512, bit_serial_avx512_by_counting}});
#elif defined(__aarch64__)
    return usable_of<BitSerialArgs>({{Isa::neon, bit_serial_neon}});
#else
    return {};
#endif
}

// A convolution with its slices, cells and converters, in memory of exactly the documented size.
struct Problem {
    DenseConv dense;
    std::vector<int> slice_planes;
    std::vector<int32_t> plane_weight, dummy;
    std::vector<int16_t> cells;  // none: ideal ones
    Conversion conversion = Conversion::affine;
    bool shared = true, by_column = false, noisy = false;
    std::vector<uint8_t> codes;
    std::vector<float> gain, shift, bias;
    std::vector<double> factor, base;
    std::vector<int32_t> amplitude;
    std::vector<int16_t> normal;
    int64_t low = 0, high = 0;

    int64_t slices() const { return static_cast<int64_t>(slice_planes.size()); }
    int64_t pairs() const { return (shared ? 1 : dense.x.planes) * slices(); }
    int64_t rows() const { return dense.arrays() * dense.array_words() * 64; }

    std::string text() const {
        std::ostringstream s;
        s << dense.text() << ", " << slices() << " slices" << (cells.empty() ? "" : " of numbers")
          << (conversion == Conversion::affine  ? ", affine"
              : conversion == Conversion::table ? ", table"
                                                : ", none")
          << (shared ? ", shared" : "") << (by_column ? ", by column" : "") << (noisy ? ", noise" : "");
        return s.str();
    }
};

template <class T>
std::vector<T> numbers(Random& random, int64_t count, double low, double high) {
    std::vector<T> values(static_cast<size_t>(count));
    for (T& value : values) value = static_cast<T>(random.real(static_cast<float>(low), static_cast<float>(high)));
    return values;
}

Problem random_problem(Random& random) {
    Problem p;
    do p.dense = random_conv(random, {60000});
    while (p.dense.geometry.groups != 1 || p.dense.channels_per_array * p.dense.geometry.taps() > 2000);
    p.dense.x.thermometer = p.dense.w.thermometer = false;
    for (int left = p.dense.w.planes; left > 0; left -= p.slice_planes.back())
        p.slice_planes.push_back(random.chance(60) ? 1 : static_cast<int>(random.between(1, left)));
    for (int plane = 0; plane < p.dense.w.planes; ++plane)
        p.plane_weight.push_back(static_cast<int32_t>(random.chance(60) ? 1 : random.between(-4, 4)));
    for (int64_t c = 0; c < p.slices(); ++c)
        p.dummy.push_back(static_cast<int32_t>(random.chance(70) ? 0 : random.between(-3, 3)));
    p.conversion = random.chance(50) ? Conversion::affine : random.chance(60) ? Conversion::table : Conversion::none;
    p.shared = random.chance(60);
    p.by_column = p.conversion != Conversion::table && random.chance(30);
    if (random.chance(40)) {
        for (int64_t i = 0; i < p.slices() * p.dense.geometry.out_channels * p.rows(); ++i)
            p.cells.push_back(static_cast<int16_t>(random.between(-12, 12)));
        p.noisy = random.chance(40);
    }
    const int64_t converters = p.by_column ? p.dense.geometry.out_channels : 1;
    p.low = -random.between(0, 300);
    p.high = random.between(0, 300);
    for (int64_t i = 0; i < p.pairs() * (p.high - p.low + 1); ++i)
        p.codes.push_back(static_cast<uint8_t>(random.bits() & 255));
    p.gain = numbers<float>(random, p.pairs() * converters, 0.05, 1.5);
    p.shift = numbers<float>(random, p.pairs() * converters, -20, 60);
    p.factor = numbers<double>(random, p.pairs() * converters, -4, 4);
    p.base = numbers<double>(random, converters, -100, 100);
    p.bias = numbers<float>(random, p.dense.geometry.out_channels, -2, 2);
    for (int64_t active = 0; active <= p.dense.array_words() * 64; ++active)
        p.amplitude.push_back(static_cast<int32_t>(40 * std::sqrt(static_cast<double>(active))));
    for (int i = 0; i < 4096; ++i) p.normal.push_back(static_cast<int16_t>(random.between(-15000, 15000)));
    return p;
}

struct Call {
    Call(const Problem& p, const Threads& threads) : packed(p.dense, threads) {
        args.conv = packed.conv;
        args.slices = static_cast<int>(p.slices());
        for (int64_t c = 0; c < p.slices(); ++c) {
            args.slice_planes[c] = p.slice_planes[c];
            args.dummy[c] = p.dummy[c];
        }
        if (p.cells.empty())
            args.planes = packed.w.data();
        else
            args.cells = p.cells.data();
        args.plane_weight = p.plane_weight.data();
        args.conversion = p.conversion;
        args.converter_bits = p.shared ? 1 : p.dense.x.planes;
        args.codes = p.codes.data();
        args.low = p.low, args.high = p.high;
        args.gain = p.gain.data(), args.shift = p.shift.data();
        args.converters = p.by_column ? p.dense.geometry.out_channels : 1;
        args.top = 63;
        args.factor = p.factor.data(), args.base = p.base.data();
        args.scale = 0.37;
        args.bias = p.bias.data();
        if (p.noisy) args.noise = {p.amplitude.data(), p.normal.data(), 12345, 7};
    }
    PackedConv packed;
    BitSerialArgs args;
};

std::vector<float> run(void (*kernel)(const BitSerialArgs&), const Problem& p, const Threads& threads) {
    Call call(p, threads);
    std::vector<float> y(call.packed.outputs(), -12345.0f);
    call.args.y = y.data();
    kernel(call.args);
    return y;
}

std::vector<int64_t> histogram(void (*kernel)(const BitSerialArgs&), const Problem& p, int64_t columns) {
    Call call(p, one_thread());
    std::vector<int64_t> counts(static_cast<size_t>(p.dense.x.planes * p.slices() * columns * (p.high - p.low + 1)), 0);
    call.args.histogram = counts.data();
    call.args.histogram_columns = columns;
    kernel(call.args);
    return counts;
}

// The meaning once more, from dense bits and without noise.
float plain_output(const Problem& p, int64_t image, int64_t o, int64_t oy, int64_t ox) {
    const DenseConv& d = p.dense;
    const auto& x = d.x.bits;
    const int64_t converters = p.by_column ? d.geometry.out_channels : 1, column = p.by_column ? o : 0;
    double total = p.base[column];
    int plane = 0;
    for (int64_t c = 0; c < p.slices(); plane += p.slice_planes[c++]) {
        int64_t of_all_bits = 0;
        for (int z = 0; z < d.x.planes; ++z) {
            std::vector<int64_t> v(static_cast<size_t>(d.arrays()), 0);
            d.for_each_row(oy, ox, [&](int64_t channel, int64_t tap, int64_t iy, int64_t ix) {
                if (!x[z * d.x.elements + d.x_at(image, channel, iy, ix)]) return;
                const int64_t s = d.array_of(channel, tap);
                const int64_t row = channel % d.channels_per_array + (d.tap ? 0 : tap * d.channels_per_array);
                if (!p.cells.empty()) {
                    v[s] += p.cells[(c * d.geometry.out_channels + o) * p.rows() + s * d.array_words() * 64 + row];
                    return;
                }
                v[s] += p.dummy[c];
                for (int q = plane; q < plane + p.slice_planes[c]; ++q)
                    v[s] += d.w.bits[q * d.w.elements + d.w_at(o, channel, tap)] ? p.plane_weight[q] : 0;
            });
            const int64_t pair = p.shared ? c : z * p.slices() + c;
            int64_t sum = 0;
            for (int64_t value : v) {
                if (p.conversion == Conversion::table)
                    value = p.codes[pair * (p.high - p.low + 1) + std::max(p.low, std::min(p.high, value)) - p.low];
                if (p.conversion == Conversion::affine) {
                    const float product = static_cast<float>(value) * p.gain[pair * converters + column];
                    value = static_cast<int64_t>(
                        std::fmax(0.0f, std::fmin(63.0f, std::rint(product + p.shift[pair * converters + column]))));
                }
                sum += value;
            }
            of_all_bits += sum * (int64_t{1} << z);
            if (!p.shared) total += p.factor[pair * converters + column] * static_cast<double>(sum);
        }
        if (p.shared) total += p.factor[c * converters + column] * static_cast<double>(of_all_bits);
    }
    return static_cast<float>(total * 0.37 + static_cast<double>(p.bias[o]));
}

}  // namespace

TEST("bit_serial: random convolutions") {
    Random random(1);
    for (int i = 0; i < 250; ++i) {
        const Problem p = random_problem(random);
        check::describe("reference, ", p.text());
        const std::vector<float> expected = run(bit_serial_reference, p, one_thread());
        if (!p.noisy) {
            const auto& g = p.dense.geometry;
            std::vector<float> plain;
            for (int64_t image = 0; image < g.batch; ++image)
                for (int64_t o = 0; o < g.out_channels; ++o)
                    for (int64_t oy = 0; oy < g.out_height(); ++oy)
                        for (int64_t ox = 0; ox < g.out_width(); ++ox)
                            plain.push_back(plain_output(p, image, o, oy, ox));
            CHECK_SAME(expected, plain);
        }
        for (const auto& variant : variants())
            for (const Threads& threads : {one_thread(), several_threads<3>()}) {
                check::describe(name_of(variant.isa), ", threads ", threads.count, ", ", p.text());
                CHECK_SAME(run(variant.run, p, threads), expected);
            }
    }
}

TEST("bit_serial: histograms count every partial sum") {
    Random random(2);
    for (int i = 0; i < 60; ++i) {
        const Problem p = random_problem(random);
        const auto& g = p.dense.geometry;
        for (int64_t columns : {int64_t{1}, g.out_channels}) {
            check::describe("reference, columns ", columns, ", ", p.text());
            const auto expected = histogram(bit_serial_reference, p, columns);
            int64_t sum = 0;
            for (int64_t count : expected) sum += count;
            CHECK(sum == g.batch * g.out_channels * g.out_pixels() * p.dense.arrays() * p.dense.x.planes * p.slices());
            for (const auto& variant : variants()) {
                check::describe(name_of(variant.isa), ", columns ", columns, ", ", p.text());
                CHECK_SAME(histogram(variant.run, p, columns), expected);
            }
        }
    }
}

#if defined(__x86_64__)
// Ideal cells behind converters that input bits and columns share, as the vertical algorithm takes them.
Problem vertical_problem(Random& random, DenseConv dense) {
    Problem p = random_problem(random);
    p.dense = std::move(dense);
    p.dense.x.thermometer = p.dense.w.thermometer = false;
    p.slice_planes.clear(), p.plane_weight.clear(), p.dummy.clear(), p.cells.clear();
    const int kind = static_cast<int>(random.between(0, 3));
    for (int left = p.dense.w.planes; left > 0; left -= p.slice_planes.back()) {
        p.slice_planes.push_back(kind == 0 ? 1 : static_cast<int>(random.between(1, std::min(left, 4))));
        for (int plane = 0; plane < p.slice_planes.back(); ++plane)
            p.plane_weight.push_back(kind == 0   ? random.chance(50) ? 1 : -1  // one bit per cell
                                     : kind == 1 ? (1 << plane) * (plane % 2 == 0 ? 1 : -1)
                                     : kind == 2 ? 1 << plane
                                                 : static_cast<int32_t>(random.between(-2, 2)));
        p.dummy.push_back(kind == 0 || random.chance(50) ? 0 : static_cast<int32_t>(random.between(-1, 1)));
    }
    p.conversion = random.chance(60) ? Conversion::affine : Conversion::table;
    p.shared = true, p.by_column = p.noisy = false;
    const auto codes = p.pairs() * (p.high - p.low + 1);
    for (p.codes.clear(); static_cast<int64_t>(p.codes.size()) < codes;)
        p.codes.push_back(static_cast<uint8_t>(random.bits() & 255));
    p.gain = numbers<float>(random, p.pairs(), 0.05, random.chance(80) ? 0.99 : 4);
    p.shift = numbers<float>(random, p.pairs(), -20, 60);
    p.factor = numbers<double>(random, p.pairs(), -4, 4);
    p.base = numbers<double>(random, 1, -100, 100);
    p.bias = numbers<float>(random, p.dense.geometry.out_channels, -2, 2);
    return p;
}

struct VerticalVariant {
    Isa isa;
    bool (*run)(const BitSerialArgs&);
    int taken = 0;
};

std::vector<VerticalVariant> vertical_variants() {
    std::vector<VerticalVariant> variants;
    if (usable(Isa::avx2)) variants.push_back({Isa::avx2, bit_serial_avx2_vertically});
    if (usable(Isa::avx512)) variants.push_back({Isa::avx512, bit_serial_avx512_vertically});
    return variants;
}

void check_vertically(std::vector<VerticalVariant>& variants, const Problem& p) {
    const std::vector<float> expected = run(bit_serial_reference, p, one_thread());
    for (VerticalVariant& variant : variants)
        for (const Threads& threads : {one_thread(), several_threads<3>()}) {
            check::describe(name_of(variant.isa), " vertically, threads ", threads.count, ", ", p.text());
            Call call(p, threads);
            std::vector<float> y(call.packed.outputs(), -12345.0f);
            call.args.y = y.data();
            const std::vector<float> untouched = y;
            const bool taken = variant.run(call.args);
            variant.taken += taken;
            CHECK_SAME(y, taken ? expected : untouched);
        }
}

TEST("bit_serial: bits of many patches added side by side") {
    Random random(3);
    auto variants = vertical_variants();
    constexpr int kCases = 300;
    for (int i = 0; i < kCases; ++i) {
        DenseConv dense;
        do dense = random_conv(random, {60000});
        while (dense.geometry.groups != 1 || dense.channels_per_array * dense.geometry.taps() > 2000);
        check_vertically(variants, vertical_problem(random, std::move(dense)));
    }
    // The others have partial sums of more than 256 values, or cells of more than 15 steps.
    for (const VerticalVariant& variant : variants) CHECK(variant.taken > kCases);
}

TEST("bit_serial: the vertical algorithm around the size of its blocks") {
    Random random(4);
    auto variants = vertical_variants();
    for (int64_t m : {1, 255, 256, 257, 511, 512, 513, 1025})
        check_vertically(variants, vertical_problem(random, matrix_product(random, m, random.between(1, 9), 70, 35)));
    for (const VerticalVariant& variant : variants) CHECK(variant.taken == 2 * 8);
}

// 16 bits hold the codes of 257 arrays and one input bit, or of fewer and all bits.
TEST("bit_serial: the vertical algorithm with many arrays and the largest codes") {
    Random random(5);
    auto variants = vertical_variants();
    for (int64_t arrays : {1, 16, 17, 18, 256, 257, 258, 600}) {
        DenseConv dense = matrix_product(random, 40, 3, arrays, 1);
        dense.x.planes = 4;
        dense.x.fill(random);
        Problem p = vertical_problem(random, std::move(dense));
        p.conversion = Conversion::table;
        std::fill(p.codes.begin(), p.codes.end(), uint8_t{255});
        check_vertically(variants, p);
    }
    for (const VerticalVariant& variant : variants) CHECK(variant.taken == 2 * 8);
}
#endif

int main() { return check::run_tests(); }
