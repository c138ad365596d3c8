// xnor by adding bits of many patches side by side ("vertically"). Included inside an instruction-set region after lanes_*.h,
// blocks.h, write.h and counting_engine.h.
//
// The patches of a block are turned, so that a row of bits holds one input of 512 patches; the sums of an output are then numbers
// whose bits lie in vectors, one vector per digit, and counting is logic: two (AVX-512) or five operations add a bit to 512 or
// 256 sums. A weight decides only whether its row is added, and four outputs share what they add (shared_rows.h). With x and w
// as bits, and both 0 where a patch has padding,
//
//   y = 4 * (x & w) - 2 * x + valid - 2 * (w & valid)      set bits meant throughout
#pragma once

#include "../../core/turned_patches.h"

#include "shared_rows.h"

namespace bnnkit {
namespace {

class VerticalXnor {
public:
    static constexpr int64_t kRows = TurnedPatches::kPatches;
    static constexpr int64_t kColumns = 16;

    VerticalXnor(const BinaryConv& conv, const SharedRows& shared)
        : words_(conv.layout.row_words()),
          outputs_(conv.geometry.group_outputs()),
          turned_(conv.layout.row_words()),
          shared_(shared) {
        const int64_t inputs = conv.layout.taps * conv.layout.channels;
        while (inputs >> planes_ != 0) ++planes_;
    }

    int64_t scratch_bytes() const { return turned_.bytes() + int64_t{sizeof(Patches)}; }

    void prepare(const RowBlock& block, unsigned char* scratch) const {
        turned_.turn(block, scratch);
        Patches& patches = patches_of(scratch);
        patches.borders = 0;
        for (int r = 0; r < block.count; ++r) {
            int64_t set = 0;
            for (int64_t word = 0; word < words_; ++word) set += __builtin_popcountll(block.words[r * words_ + word]);
            patches.minus_twice[r] = static_cast<int16_t>(-2 * set);
            patches.at_border[patches.borders] = static_cast<int16_t>(r);
            patches.borders += block.border_class[r] != 0;
        }
    }

    // Fills out[kColumns][kRows].
    void tile(const RowBlock& block, unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        const int64_t first = panel * kColumns, end = outputs_ - first < kColumns ? outputs_ : first + kColumns;
        for (int64_t output = first; output < end; output += SharedRows::kOutputs)
            quad(block, scratch, group, output, end, out + (output - first) * kRows);
    }

private:
    static constexpr int64_t kVectors = TurnedPatches::kVectors, kLaneBits = TurnedPatches::kVectorPatches;
    static constexpr int kMostPlanes = 16;

    // What a block is known by besides its turned bits, behind them.
    struct Patches {
        int16_t minus_twice[kRows];  // the set bits
        int16_t at_border[kRows];    // which patches have padding
        int borders;
    };

    Patches& patches_of(unsigned char* scratch) const { return *reinterpret_cast<Patches*>(scratch + turned_.bytes()); }

    // Sums of up to four outputs.
    void quad(const RowBlock& block, unsigned char* scratch, int64_t group, int64_t output, int64_t end,
              int32_t* out) const {
        constexpr int kOutputs = SharedRows::kOutputs;
        const int64_t vectors = ceil_div(block.count, kLaneBits);
        const SharedRows::Lists lists = shared_.of(group, output / kOutputs);
        const uint64_t* const bits = reinterpret_cast<const uint64_t*>(scratch);
        BitVector counted[kVectors][kMostPlanes], sums[kVectors][kOutputs][kMostPlanes];
        for (int64_t v = 0; v < vectors; ++v) {
            for (BitVector& plane : counted[v]) plane = BitVector{};
            for (auto& sum : sums[v])
                for (BitVector& plane : sum) plane = BitVector{};
        }
        for (int rank = 1; rank < SharedRows::kClasses; ++rank) {
            const SharedRows::Change change = SharedRows::change_after(rank);
            const int32_t* const rows = lists.offsets + lists.ends[rank - 1];
            const int64_t count = lists.ends[rank] - lists.ends[rank - 1];
            for (int64_t v = 0; v < vectors; ++v) {
                add_bits(bits + v * TurnedPatches::kVectorWords, rows, count, counted[v], planes_);
                if (change.leaves)
                    add_number(sums[v][change.output], counted[v]);
                else
                    subtract_number(sums[v][change.output], counted[v]);
            }
        }
        const Patches& patches = patches_of(scratch);
        for (int64_t o = 0; o < kOutputs && output + o < end; ++o, out += kRows) {
            const int32_t plain = shared_.starts(0, group)[output + o];
            for (int64_t v = 0; v < vectors; ++v)
                finish(sums[v][o], patches.minus_twice + v * kLaneBits, plain, out + v * kLaneBits);
            for (int i = 0; i < patches.borders; ++i) {
                const int r = patches.at_border[i];
                out[r] += shared_.starts(block.border_class[r], group)[output + o] - plain;
            }
        }
    }

    void add_number(BitVector* sum, const BitVector* number) const {
        BitVector carry{};
        for (int p = 0; p < planes_; ++p) carry = add_two(sum[p], number[p], carry);
    }

    void subtract_number(BitVector* sum, const BitVector* number) const {
        BitVector borrow{};
        for (int p = 0; p < planes_; ++p) {
            const BitVector differ = sum[p] ^ number[p];
            sum[p] = differ ^ borrow;
            borrow = (~differ & (borrow ^ number[p])) ^ number[p];
        }
    }

    // A vector's worth of sums, from numbers of set bits.
    static void finish(const BitVector* planes, const int16_t* minus_twice, int32_t start, int32_t* out) {
        alignas(64) uint8_t low[kLaneBits], high[kLaneBits];
        bytes_of_bits(planes, low);
        bytes_of_bits(planes + 8, high);
        const auto added = static_cast<int16_t>(start);
        for (int64_t i = 0; i < kLaneBits; ++i) {
            const auto set = static_cast<uint16_t>(low[i] | high[i] << 8);
            out[i] = static_cast<int16_t>(static_cast<uint16_t>(4 * set + minus_twice[i] + added));
        }
    }

    int64_t words_, outputs_;
    int planes_ = kLeastPlanes;
    TurnedPatches turned_;
    const SharedRows& shared_;
};

struct TurnedSumWriter {
    const XnorArgs& args;
    Output output{args.y, args.conv.geometry};

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t first_output, int64_t outputs) const {
        write_turned(args.conv.geometry, tile, pixel, pixels, first_output, outputs, output, FinishSum{args.bias});
    }
};

inline void xnor_vertically(const XnorArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const SharedRows shared(args.conv, borders);
    const VerticalXnor engine(args.conv, shared);
    for_each_tile(args.conv, borders, engine, TurnedSumWriter{args});
}

inline void xnor_either_way(const XnorArgs& args, const VerticalMinimum& minimum) {
    if (minimum.reached_by(args.conv))
        xnor_vertically(args);
    else
        xnor_by_counting(args);
}

}  // namespace
}  // namespace bnnkit
