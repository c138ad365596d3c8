// adc by adding bits of many patches side by side ("vertically"), of one plane on each side. Included inside an instruction-set region
// after lanes_*.h, blocks.h, write.h and counting_engine.h.
//
// The patches of a block are turned, so that a row of bits holds one input of 512 patches. Numbers are vectors of their bits, one
// vector per digit, and counting is logic: two (AVX-512) or five operations add a bit to 512 or 256 numbers. T, the sum of all x, is
// the same for all outputs; outputs add bits in pairs (rows_of_two.h); a comparison with a limit is the carry of a subtraction
// (limit_planes.h), and codes are counted the same way over the arrays.
#pragma once

#include "../../core/turned_patches.h"

#include "limit_planes.h"

namespace bnnkit {
namespace {

template <int kDigits>
class VerticalAdc {
public:
    static constexpr int64_t kRows = TurnedPatches::kPatches;
    static constexpr int64_t kColumns = 16;

    VerticalAdc(const AdcArgs& args, const BorderClasses& borders, const BorderPatterns& patterns)
        : args_(args),
          arrays_(args.conv.layout.arrays()),
          array_words_(args.conv.layout.array_words()),
          outputs_(args.conv.geometry.group_outputs()),
          codes_(arrays_ * (args.level_count - 1)),
          turned_(args.conv.layout.row_words()),
          valid_(borders.mask(0)),
          patterns_(patterns),
          rows_(args.conv, valid_),
          limits_(args, borders, patterns, rows_) {
        while (codes_ >> code_digits_ != 0) ++code_digits_;
    }

    int64_t scratch_bytes() const { return turned_.bytes() + arrays_ * kTotalBytes + kListBytes; }

    void prepare(const RowBlock& block, unsigned char* scratch) const {
        turned_.turn(block, scratch);
        auto* const list = reinterpret_cast<int32_t*>(scratch + turned_.bytes() + arrays_ * kTotalBytes);
        for (int64_t array = 0; array < arrays_; ++array) {
            int32_t* end = list;
            for (int64_t word = array * array_words_; word < (array + 1) * array_words_; ++word)
                end = list_rows(valid_[word], word * kWordBits * TurnedPatches::kRowWords, end);
            end = fill_list(list, end, args_.conv.layout.row_words() * kWordBits * TurnedPatches::kRowWords);
            for (int64_t v = 0; v < kVectors; ++v) {
                BitVector total[kTotalPlanes] = {};
                add_bits(reinterpret_cast<const uint64_t*>(scratch) + v * TurnedPatches::kVectorWords, list, end - list,
                         total, kTotalPlanes);
                for (int p = 0; p < kDigits; ++p) store_bits(total_at(scratch, array, v, p), ~total[p]);
            }
        }
    }

    // Fills out[kColumns][kRows].
    void tile(const RowBlock& block, unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        const int64_t first = panel * kColumns, end = outputs_ - first < kColumns ? outputs_ : first + kColumns;
        const int64_t vectors = ceil_div(block.count, kLaneBits);
        BitVector codes[kColumns][kVectors][kCodeDigits];
        for (auto& of_output : codes)
            for (auto& of_vector : of_output)
                for (int p = 0; p < code_digits_; ++p) of_vector[p] = BitVector{};
        // Array by array, so that their bits stay in the first cache.
        for (int64_t array = 0; array < arrays_; ++array)
            for (int64_t output = first; output < end; output += RowsOfTwo::kOutputs) {
                const RowsOfTwo::Lists lists = rows_.of(group, output / RowsOfTwo::kOutputs);
                for (int64_t v = 0; v < vectors; ++v)
                    count_pair(block, scratch, lists, {group, output, array, v}, output + 1 < end,
                               codes + (output - first));
            }
        for (int64_t o = 0; o < end - first; ++o, out += kRows)
            for (int64_t v = 0; v < vectors; ++v) finish(codes[o][v], out + v * kLaneBits);
    }

private:
    static constexpr int64_t kVectors = TurnedPatches::kVectors, kLaneBits = TurnedPatches::kVectorPatches;
    static constexpr int64_t kTotalBytes = kVectors * kDigits * kLaneBytes;
    static constexpr int kTotalPlanes = kDigits < kLeastPlanes ? kLeastPlanes : kDigits;
    static constexpr int kCodeDigits = 16;
    // Every row of an array.
    static constexpr int64_t kListBytes =
        ((int64_t{1} << kDigits) + kBitsAtATime + kListSlack) * int64_t{sizeof(int32_t)};

    struct Place {
        int64_t group, output, array, vector;
    };

    unsigned char* total_at(unsigned char* scratch, int64_t array, int64_t v, int plane) const {
        return scratch + turned_.bytes() + array * kTotalBytes + (v * kDigits + plane) * kLaneBytes;
    }

    void count_pair(const RowBlock& block, unsigned char* scratch, const RowsOfTwo::Lists& lists, const Place& at,
                    bool second, BitVector (*codes)[kVectors][kCodeDigits]) const {
        const uint64_t* const bits =
            reinterpret_cast<const uint64_t*>(scratch) + at.vector * TurnedPatches::kVectorWords;
        const int32_t* const ends = lists.ends + at.array * RowsOfTwo::kShares;
        const auto add_share = [&](int share, BitVector(&digits)[kDigits]) __attribute__((always_inline)) {
            const int32_t *const from = lists.offsets + ends[share], *const to = lists.offsets + ends[share + 1];
            if constexpr (kDigits == kByteDigits)
                add_few_bits(bits, from, to, digits);
            else
                add_bits(bits, from, to - from, digits, kDigits);
        };
        // Without its lowest digit, to which nothing is added.
        BitVector digits[kDigits] = {};
#pragma GCC unroll 16
        for (int p = 0; p + 1 < kDigits; ++p) digits[p] = bits_at(total_at(scratch, at.array, at.vector, p + 1));
        const BitVector lowest = bits_at(total_at(scratch, at.array, at.vector, 0));
        const int32_t pattern = patterns_.at(block.first_pixel, at.vector);
        add_as_pair(digits, second, add_share,
                    [&](int which, const BitVector(&number)[kDigits]) __attribute__((always_inline)) {
                        convert(lowest, number, pattern, at, which, codes[which][at.vector]);
                    });
    }

    // Adds the code of an array's sum, 2 * number + lowest.
    __attribute__((always_inline)) void convert(BitVector lowest, const BitVector (&number)[kDigits], int32_t pattern,
                                                const Place& at, int which, BitVector (&codes)[kCodeDigits]) const {
        const int64_t output = at.output + which;
        const BitVector inverted = BitVector{} - static_cast<uint64_t>(!rows_.adds_ones(at.group, output, at.array));
        const uint64_t* limit = limits_.of(pattern, at.group * outputs_ + output, at.array);
        for (int j = 1; j < args_.level_count; ++j) {
            BitVector reached = lowest | bits_at(limit);
#pragma GCC unroll 16
            for (int p = 0; p < kDigits; ++p)
                reached = majority(number[p], bits_at(limit + (p + 1) * TurnedPatches::kVectorWords), reached);
            add_bit(codes, code_digits_, reached ^ inverted);
            limit += LimitPlanes<kDigits>::kPlanes * TurnedPatches::kVectorWords;
        }
    }

    // A vector's worth of level sums, from counted codes.
    void finish(const BitVector (&codes)[kCodeDigits], int32_t* out) const {
        alignas(64) uint8_t low[kLaneBits], high[kLaneBits] = {};
        BitVector planes[kCodeDigits];
        for (int p = 0; p < kCodeDigits; ++p) planes[p] = p < code_digits_ ? codes[p] : BitVector{};
        bytes_of_bits(planes, low);
        if (code_digits_ > 8) bytes_of_bits(planes + 8, high);
        // Modulo 2^32, like the sums of levels.
        const auto lowest = static_cast<uint32_t>(args_.levels[0]);
        const uint32_t gain = static_cast<uint32_t>(args_.levels[1]) - lowest;
        const uint32_t start = static_cast<uint32_t>(arrays_) * lowest;
        for (int64_t i = 0; i < kLaneBits; ++i)
            out[i] = static_cast<int32_t>(start + gain * static_cast<uint32_t>(low[i] | high[i] << 8));
    }

    const AdcArgs& args_;
    int64_t arrays_, array_words_, outputs_, codes_;
    int code_digits_ = 0;
    TurnedPatches turned_;
    const uint64_t* valid_;
    const BorderPatterns& patterns_;
    RowsOfTwo rows_;
    LimitPlanes<kDigits> limits_;
};

struct TurnedLevelWriter {
    const AdcArgs& args;
    Output output{args.y, args.conv.geometry};
    bool in_float = exact_in_float(
        args.scale, args.offset,
        largest_magnitude(args.levels, static_cast<size_t>(args.level_count)) * args.conv.layout.arrays());

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t first_output, int64_t outputs) const {
        const double base = args.offset * static_cast<double>(args.conv.layout.arrays());
        if (in_float)
            write_turned(args.conv.geometry, tile, pixel, pixels, first_output, outputs, output,
                         FinishInFloat{static_cast<float>(args.scale), args.bias});
        else
            write_turned(args.conv.geometry, tile, pixel, pixels, first_output, outputs, output,
                         FinishInDouble{args.scale, base, args.bias});
    }
};

template <int kDigits>
inline void adc_vertically_in(const AdcArgs& args, const BorderClasses& borders, const BorderPatterns& patterns) {
    const VerticalAdc<kDigits> engine(args, borders, patterns);
    for_each_tile(args.conv, borders, engine, TurnedLevelWriter{args}, patterns.block());
}

// Whether it was computed. It is not where images leave a quarter of the vectors empty, or have too many border patterns.
inline bool adc_vertically(const AdcArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const bool inside = borders.count() == 1;
    constexpr int64_t kLanes = TurnedPatches::kVectorPatches, kMost = TurnedPatches::kPatches;
    const int64_t block = inside ? kMost : block_of_whole_images(args.conv.geometry, kMost);
    if (4 * block < 3 * ceil_div(block, kLanes) * kLanes) return false;
    const BorderPatterns patterns(args.conv.geometry, borders, block, kLanes, kMostBorderPatterns);
    if (patterns.count() == 0) return false;
    if (largest_partial_sum(args.conv) < int64_t{1} << kByteDigits)
        adc_vertically_in<kByteDigits>(args, borders, patterns);
    else
        adc_vertically_in<kMostVerticalDigits>(args, borders, patterns);
    return true;
}

inline void adc_either_way(const AdcArgs& args, const VerticalAdcMinimum& minimum) {
    if (!minimum.reached_by(args) || !adc_vertically(args)) adc_by_counting(args);
}

}  // namespace
}  // namespace bnnkit
