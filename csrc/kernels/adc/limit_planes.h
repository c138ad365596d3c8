// Limits that counted numbers are compared with, bit plane by bit plane for a vector of pixels, whose border classes differ. Included
// inside an instruction-set region after rows_of_two.h.
//
// With bits x and w, an array of n valid rows sums up to
//
//     ps = 4 * S - 2 * T - K,   S = sum of x where w is 1,   T = sum of all x,   K = 2 * (valid rows where w is 1) - n
//
// and to 2 * T - 4 * S - K, where S is the sum of x where w is 0. Counted is V = 2 * S + 2^digits - 1 - T, so that ps reaches a
// threshold exactly when V reaches a limit, or does not reach one. K depends on the border class and the output.
#pragma once

#include "border_patterns.h"
#include "rows_of_two.h"

namespace bnnkit {
namespace {

// `kDigits`: of T; V has one more.
template <int kDigits>
class LimitPlanes {
public:
    static constexpr int64_t kPlanes = kDigits + 1;

    LimitPlanes(const AdcArgs& args, const BorderClasses& borders, const BorderPatterns& patterns,
                const RowsOfTwo& rows)
        : arrays_(args.conv.layout.arrays()),
          thresholds_(args.level_count - 1),
          outputs_(args.conv.geometry.out_channels),
          planes_(patterns.count() * outputs_ * arrays_ * thresholds_ * kPlanes * kLaneBytes) {
        parallel_for(args.conv.threads, outputs_, [&](int64_t begin, int64_t end) {
            for (int64_t output = begin; output < end; ++output)
                for (int64_t array = 0; array < arrays_; ++array) fill(args, borders, patterns, rows, output, array);
        });
    }

    // The limits of an output's array, inverted: [threshold][plane].
    const uint64_t* of(int32_t pattern, int64_t output, int64_t array) const {
        return planes_of(pattern, output, array);
    }

private:
    static constexpr int64_t kPlaneWords = kLaneBytes / 8;
    static constexpr int64_t kFull = int64_t{1} << kDigits;

    uint64_t* planes_of(int64_t pattern, int64_t output, int64_t array) const {
        return reinterpret_cast<uint64_t*>(planes_.data) +
               ((pattern * outputs_ + output) * arrays_ + array) * thresholds_ * kPlanes * kPlaneWords;
    }

    void fill(const AdcArgs& args, const BorderClasses& borders, const BorderPatterns& patterns, const RowsOfTwo& rows,
              int64_t output, int64_t array) const {
        const BinaryConv& conv = args.conv;
        const int64_t words = conv.layout.array_words(), group_outputs = conv.geometry.group_outputs();
        const uint64_t* const w = conv.w + output * conv.layout.row_words() + array * words;
        const bool adds_ones = rows.adds_ones(output / group_outputs, output % group_outputs, array);
        const auto k_of = [&](int32_t border_class) {
            const uint64_t* const valid = borders.mask(border_class) + array * words;
            int64_t ones = 0;
            for (int64_t word = 0; word < words; ++word) ones += __builtin_popcountll(w[word] & valid[word]);
            return 2 * ones - borders.valid_rows(border_class, array);
        };
        for (int64_t pattern = 0; pattern < patterns.count(); ++pattern)
            for (int64_t j = 0; j < thresholds_; ++j) {
                BitVector planes[kPlanes] = {};
                for (int64_t i = 0; i < patterns.parts(pattern); ++i) {
                    const BorderPatterns::Part part = patterns.part(pattern, i);
                    const int64_t limit = ~limit_of(k_of(part.border_class) + args.thresholds[j], adds_ones);
                    const BitVector pixels = bits_at(part.pixels), limits = BitVector{} + static_cast<uint64_t>(limit);
#pragma GCC unroll 17
                    for (int p = 0; p < kPlanes; ++p) {
                        const BitVector digit = BitVector{} + (uint64_t{1} << p);
                        planes[p] |= (BitVector)((limits & digit) == digit) & pixels;
                    }
                }
                uint64_t* const to = planes_of(pattern, output, array) + j * kPlanes * kPlaneWords;
                for (int p = 0; p < kPlanes; ++p) store_bits(to + p * kPlaneWords, planes[p]);
            }
    }

    // `needed` = K + threshold. What no V reaches is one past the largest.
    static int64_t limit_of(int64_t needed, bool adds_ones) {
        const int64_t half = (needed + (needed & 1)) / 2;  // rounded up
        const int64_t limit = adds_ones ? half + kFull - 1 : kFull - half;
        return limit < 0 ? 0 : limit < 2 * kFull ? limit : 2 * kFull - 1;
    }

    int64_t arrays_, thresholds_, outputs_;
    Scratch planes_;
};

}  // namespace
}  // namespace bnnkit
