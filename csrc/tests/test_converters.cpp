// The two restatements of a converter, exhaustively over every count and every partial sum.
#include <bit>
#include <cmath>

#include "../kernels/adc/count_converter.h"
#include "../kernels/adc/cuda_converter.h"
#include "../kernels/adc/sum_converter.h"
#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "random_converter.h"

using namespace bnnkit;

namespace {

AdcArgs args_of(const BinaryConv& conv, const Table& table) {
    AdcArgs args;
    args.conv = conv;
    args.thresholds = table.thresholds.data();
    args.levels = table.levels.data();
    args.level_count = static_cast<int>(table.levels.size());
    return args;
}

// What a population-count kernel adds to its accumulator for `count` mismatches.
int64_t accumulated(const CountConverter& converter, const Steps& steps, int64_t count, int shift) {
    switch (converter.method()) {
        case CountConverter::Method::multiply: {
            const auto product =
                static_cast<unsigned __int128>(static_cast<uint64_t>(count) + steps.start) * steps.factor;
            return static_cast<int64_t>(product >> shift);
        }
        case CountConverter::Method::lookup:
            CHECK(count <= 128);
            CHECK(count < 128 || converter.reaches_128());
            return converter.levels()[count == 128 ? steps.code_of_128 : steps.codes[count]];
        case CountConverter::Method::compare: {
            int64_t sum = 0;
            for (int t = 0; t < converter.thresholds(); ++t) sum += count <= steps.limits[t] ? converter.rises()[t] : 0;
            return sum;
        }
    }
    return 0;
}

// Counts of every array run from 0 to their maximum together; the largest array decides where to stop.
void check_counts(const DenseConv& dense, const Table& table, int shift, bool has_lookup) {
    const PackedConv packed(dense, one_thread());
    const AdcArgs args = args_of(packed.conv, table);
    const BorderClasses borders(packed.conv.geometry, packed.conv.layout);
    const CountConverter converter(args, borders, shift, has_lookup);
    check::describe("shift ", shift, ", method ", static_cast<int>(converter.method()), ", ", dense.text(), ", ",
                    table.text());
    if (converter.method() == CountConverter::Method::lookup) CHECK(has_lookup);
    const int64_t q = packed.conv.product_bound(), arrays = packed.conv.layout.arrays();
    for (int32_t border = 0; border < borders.count(); ++border) {
        int64_t most = 0;
        for (int64_t s = 0; s < arrays; ++s) most = std::max(most, q * borders.valid_rows(border, s));
        for (int64_t count = 0; count <= most; ++count) {
            int64_t sum = 0, expected = 0;
            for (int64_t s = 0; s < arrays; ++s) {
                const int64_t valid = q * borders.valid_rows(border, s), c = std::min(count, valid);
                sum += accumulated(converter, *converter.steps(border)[s], c, shift);
                expected += table.level(valid - 2 * c);
            }
            // Kernels add and multiply modulo 2^32 at least; the result fits.
            const auto got = static_cast<int32_t>(converter.correction(border) + converter.gain() * sum);
            if (!CHECK_EQ(got, expected)) return;
        }
    }
}

// What the tile kernel adds to its accumulator for a partial sum.
uint32_t accumulated(const SumConverter& converter, int64_t ps) {
    switch (converter.method()) {
        case SumConverter::Method::single8:
            CHECK(converter.thresholds()[0] >= -127 && converter.thresholds()[0] <= 127);
            return std::clamp<int64_t>(ps, -128, 127) >= converter.thresholds()[0];
        case SumConverter::Method::single16:
            CHECK(converter.thresholds()[0] >= -32767 && converter.thresholds()[0] <= 32767);
            return std::clamp<int64_t>(ps, -32768, 32767) >= converter.thresholds()[0];
        case SumConverter::Method::round16: {
            const int64_t shifted = ps + converter.shift16();
            CHECK(ps == static_cast<int16_t>(ps) && shifted == static_cast<int16_t>(shifted));
            const int64_t code = (shifted * converter.factor16() + (1 << 14)) >> 15;
            CHECK(code >= 0 && code <= 255);
            return static_cast<uint32_t>(code);
        }
        case SumConverter::Method::lookup16: {
            uint32_t level = 0;
            for (int t = 0; t < converter.lookup_tables(); ++t)
                level |= uint32_t{converter.lookup_table(t)[std::clamp<int64_t>(ps + 128, 0, 255)]} << (8 * t);
            return level;
        }
        case SumConverter::Method::round32:
            return std::bit_cast<uint32_t>(std::fma(static_cast<float>(ps), converter.factor(), converter.shift()));
        case SumConverter::Method::refine32: {
            const auto bits =
                std::bit_cast<uint32_t>(std::fma(static_cast<float>(ps), converter.factor(), converter.shift()));
            const uint32_t code = bits % SumConverter::kRefinedLevels;
            const bool above = ps >= converter.next_thresholds()[code];
            CHECK(code + above < SumConverter::kRefinedLevels);
            return static_cast<uint32_t>(converter.levels()[(code + above) % SumConverter::kRefinedLevels]);
        }
        case SumConverter::Method::compare32: {
            uint32_t sum = 0;
            for (int t = 0; t < converter.threshold_count(); ++t)
                sum += ps >= converter.thresholds()[t] ? static_cast<uint32_t>(converter.rises()[t]) : 0;
            return sum;
        }
    }
    return 0;
}

void check_sums(const DenseConv& dense, const Table& table) {
    const PackedConv packed(dense, one_thread());
    const AdcArgs args = args_of(packed.conv, table);
    check::describe("sums of ", dense.text(), ", ", table.text());
    const SumConverter converter(args);
    check::describe("method ", static_cast<int>(converter.method()), ", ", dense.text(), ", ", table.text());
    const auto arrays = static_cast<uint32_t>(dense.arrays());
    for (int64_t ps = -dense.bound(); ps <= dense.bound(); ++ps) {
        const uint32_t total = converter.gain() * (arrays * accumulated(converter, ps)) + converter.correction();
        if (!CHECK_EQ(static_cast<int32_t>(total),
                      static_cast<int32_t>(arrays * static_cast<uint32_t>(table.level(ps)))))
            return;
    }
}

DenseConv array_of_rows(Random& random, int64_t rows, int x_planes, int w_planes) {
    DenseConv dense;
    dense.geometry.channels = dense.channels_per_array = rows;
    dense.x.planes = x_planes, dense.w.planes = w_planes;
    dense.fill(random);
    return dense;
}

void check_both(const DenseConv& dense, const Table& table) {
    check_counts(dense, table, 52, true);
    check_counts(dense, table, 32, false);
    check_sums(dense, table);
}

}  // namespace

TEST("converters: uniform curves of every number of rows") {
    Random random(1);
    for (int64_t rows = 1; rows <= 300; ++rows) {
        const DenseConv dense = array_of_rows(random, rows, 1, 1);
        for (int bits = 1; bits <= 4; ++bits) {
            check_both(dense, uniform_table(bits, static_cast<double>(rows)));
            if (rows <= 128) check_both(dense, uniform_table(bits, 128));
        }
    }
}

TEST("converters: uniform curves of multi-bit operands") {
    Random random(2);
    for (int64_t rows : {9, 64, 126, 128, 255, 1024})
        for (int a = 1; a <= 4; ++a)
            for (int w = 1; w <= 4; ++w)
                for (int bits = 1; bits <= 4; ++bits) {
                    const DenseConv dense = array_of_rows(random, rows, a, w);
                    check_both(dense, uniform_table(bits, static_cast<double>(dense.bound())));
                }
}

TEST("converters: arbitrary tables") {
    Random random(3);
    for (int i = 0; i < 3000; ++i) {
        const int64_t rows = random.chance(60) ? random.between(1, 130) : random.between(100, 1024);
        const DenseConv dense = array_of_rows(random, rows, 1, random.chance(70) ? 1 : 2);
        check_both(dense, random_table(random, dense.bound(), static_cast<double>(dense.bound()), 1));
    }
}

TEST("converters: borders and remainders, several numbers of valid rows in one call") {
    Random random(4);
    for (int i = 0; i < 300; ++i) {
        const DenseConv dense = random_conv(random, {2000});
        const auto scale = static_cast<double>(dense.bound()) * (random.chance(50) ? 1.0 : 1.7);
        check_both(dense, random_table(random, dense.bound(), scale, dense.arrays()));
    }
}

// The level a GPU reads at this partial sum of the only array.
int64_t level_on_gpu(const CudaConverter& converter, int64_t ps) {
    using Method = CudaConverter::Method;
    uint32_t added = 0;
    switch (converter.method) {
        case Method::single: added = ps < converter.threshold; break;
        case Method::uniform: {
            const int64_t sum = ps * converter.factor + converter.shift;
            CHECK(sum >= 0 && sum < int64_t{1} << 31);
            added = static_cast<uint32_t>(sum >> CudaConverter::kCodeShift);
            break;
        }
        case Method::table:
            added = static_cast<uint32_t>(converter.table.at(static_cast<size_t>(ps + converter.bound)));
            break;
        case Method::search: {
            const size_t count = converter.table.size() / 2;
            size_t code = 0;
            while (code < count && ps >= converter.table[code]) ++code;
            added = static_cast<uint32_t>(converter.table[count + code]);
        }
    }
    return static_cast<int32_t>(converter.gain * added + converter.correction);
}

TEST("converters: a GPU's restatement reads the same level at every partial sum, by every method") {
    Random random(9);
    int seen[4] = {};
    for (int i = 0; i < 3000; ++i) {
        DenseConv dense = random_conv(random);
        dense.tap = false;
        dense.channels_per_array = dense.geometry.group_channels();  // one array
        const PackedConv packed(dense, one_thread());
        const Table table = random_table(random, dense.bound(), static_cast<double>(dense.bound()), 1);
        const CudaConverter converter(args_of(packed.conv, table));
        check::describe("method ", static_cast<int>(converter.method), ", ", dense.text(), ", ", table.text());
        CHECK_EQ(converter.bound, dense.bound());
        ++seen[static_cast<int>(converter.method)];
        for (int64_t ps = -dense.bound(); ps <= dense.bound(); ++ps)
            CHECK_EQ(level_on_gpu(converter, ps), table.level(ps));
    }
    check::describe("methods seen");
    for (int count : seen) CHECK(count > 50);
}

TEST("converters: a GPU converts the usual arrays in one or two instructions") {
    using Method = CudaConverter::Method;
    Random random(10);
    for (int64_t rows : {64, 126, 128, 256, 512})
        for (int bits = 1; bits <= 4; ++bits) {
            const DenseConv dense = matrix_product(random, 1, 1, 2 * rows, rows);
            const PackedConv packed(dense, one_thread());
            const Table table = uniform_table(bits, static_cast<double>(rows));
            check::describe(rows, " rows, ", table.text());
            CHECK(CudaConverter(args_of(packed.conv, table)).method == (bits == 1 ? Method::single : Method::uniform));
        }
}

int main() { return check::run_tests(); }
