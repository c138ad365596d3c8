// Counting of many images at a time: a word holds one bit of 64 images, or of 32 where there are no more, and a vector of words
// neighbouring pixels of a row.
//
// With bits x and w of activations and weights, an array of n valid rows sums up to
//
//     ps = 4 * S - 2 * T - K,   S = sum of x where w is 1,   T = sum of all x,   K = 2 * (valid rows where w is 1) - n.
//
// T is the same for all outputs, and K is known before any image is seen: what is left per output are the bits x of about half
// of the rows, and no exclusive-or. (S may as well be the sum over the rows where w is 0; then ps = 2 * T - 4 * S - K.) Two
// outputs count together: rows that belong to the S of both are added once, and for each output S is chosen so that the most
// rows belong to neither. That leaves 0.36 of all rows per output. Sums lie in vectors plane by plane; see bit_lanes.h. Counting
// starts from ~T, so that
//
//     V = 2 * S + 2^t - 1 - T,   t = number of planes of T,
//
// is there when S has been added, and ps reaches a threshold exactly when V reaches (or does not reach) a limit.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "../core/patches.h"
#include "../kernels/adc/adc.h"

namespace bnnkit::deploy {

constexpr int64_t kMostVerticalImages = 64;
constexpr int kMostVerticalPlanes = 16;
constexpr int kPair = 2, kShares = 3;  // of two outputs: rows of both, of the first alone, of the second alone
constexpr int kGatedPlanes = 2;        // that 2 * high + low has more than either

// Where only codes of one bit are kept, or for gates: whether sum * (flip ? -1 : 1) >= threshold, per output; or none.
struct VerticalCodes {
    const int32_t *thresholds = nullptr, *flip = nullptr;
};

// Plain data for the instruction sets.
struct VerticalLists {
    // Bits of one plane of activations: [channels + 1][padded height][column phase][phase_words], one word per pixel. Column x of the
    // padded image is column x / stride of phase x % stride, so that what neighbouring outputs read lies side by side. The last
    // channel is 0: lists are filled up with it to multiples of eight.
    int64_t channels, height, width, pad_h, pad_w, stride_h, stride_w, phase_words, row_words, channel_words;
    int64_t out_height, out_width, outputs;
    int64_t columns;          // whose border classes make a pattern: a vector of words of 32 images
    int64_t row_patterns;     // of an output row
    int arrays, thresholds;   // thresholds: of an array; none: plain sums
    int sum_planes;           // of what an output ends as: thresholds reached, or V
    const int* total_planes;  // [arrays], of T
    // Offsets from the word of an output's first tap.
    const int32_t *rows, *chosen;
    // [1 + arrays], [1 + arrays * pairs of outputs * kShares]: where lists end; the first begins at 0
    const int64_t *rows_end, *chosen_end;
    const uint64_t* inverted;  // [arrays][outputs]: ~0 where a threshold is reached if V does not reach the limit
    const int32_t* pattern;    // [out_height][row_patterns]
    const int32_t* limits;     // ~limit, [pattern][arrays][outputs][thresholds][columns]
    // Sum of an output = number of thresholds reached * gain + start; without converter +-2 * V + start.
    int32_t gain;
    bool sums_are_short;              // they fit 16 bits
    const int32_t *negative, *start;  // [padded outputs], -1 or 0; [border class][padded outputs]
    const int32_t* first_start;       // [out_height][out_width], of the pixel's border class
    // Codes: whether the number reaches the limit, or (inverted) does not; like those above, or none.
    const int32_t* code_limits;     // [pattern][outputs][columns]
    const uint64_t* code_inverted;  // [outputs]
    int64_t padded_outputs;
};

class VerticalPlan {
public:
    // Whether there is a plan for such a layer.
    static bool suits(const AdcArgs& adc, bool gated);

    // `adc` has its weights, of which those of the first plane are read, and a converter, or no levels (level_count 0). No sum of an
    // output is larger than `largest_sum`.
    VerticalPlan(const AdcArgs& adc, const BorderClasses& borders, const VerticalCodes& codes, int64_t largest_sum,
                 int64_t columns);
    VerticalPlan(const VerticalPlan&) = delete;

    const VerticalLists& lists() const { return lists_; }

private:
    struct Row;
    std::vector<std::vector<Row>> rows_of_arrays(const BinaryConv& conv) const;
    std::array<bool, kPair> choose_rows(const std::vector<Row>& rows, const uint64_t* w, int64_t outputs,
                                        int64_t row_words);
    void place(const ConvGeometry& g);
    void fill_up(std::vector<int32_t>& list, std::vector<int64_t>& ends) const;
    void find_patterns(const BorderClasses& borders);
    void find_starts(int64_t output, const std::vector<int64_t>& k, bool sums_ones);
    void find_limits(const AdcArgs& adc, int64_t output, int array, const std::vector<int64_t>& k, bool sums_ones);
    void find_codes(const VerticalCodes& codes);

    VerticalLists lists_{};
    int64_t gain_ = 0;
    std::vector<int> total_planes_;
    std::vector<int32_t> rows_, chosen_, pattern_, negative_, start_, first_start_, limits_, code_limits_;
    std::vector<int64_t> rows_end_, chosen_end_;
    std::vector<uint64_t> inverted_, code_inverted_;
    std::vector<std::vector<int32_t>> patterns_;  // border classes of the columns
};

}  // namespace bnnkit::deploy
