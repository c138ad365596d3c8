// The rows of both operands, cut into pieces of 256 bits: what one matrix instruction takes from a row.
//
// A convolution becomes a product of rows: one row of A per output pixel, its patch gathered, and one row of B per output
// channel. Packed patches are so small (a thirty-second of a float32 image per tap) that gathering them once is less work than
// gathering them again for every tile of output channels.
//
// The instruction counts ones of a & b. Two kinds of pieces make that the sum of an array:
//   plain    256 values. Sums of +-1 follow from the count and from the ones of either row alone.
//   paired   128 word lines. A holds x, then its complement; B holds w, then its complement. The count is the number of
//            equal pairs, so that  sum = 2 * count - valid rows  needs nothing else. A padded tap is 0 in both halves of A:
//            it counts as nothing, exactly.
// An array fills whole pieces; a row has array after array, and within a step of one piece all planes.
#pragma once

#include "launch.h"
#include "patch_word.h"

namespace bnnkit {

constexpr int64_t kPieceWords = 4;

struct PieceLayout {
    int64_t arrays = 1, array_words = 1;
    int planes = 1;
    bool paired = false;

    constexpr int64_t step_words() const { return paired ? kPieceWords / 2 : kPieceWords; }  // of an array
    constexpr int64_t steps_per_array() const { return ceil_div(array_words, step_words()); }
    constexpr int64_t steps() const { return arrays * steps_per_array(); }
    constexpr int64_t row_words() const { return steps() * planes * kPieceWords; }
};

// rows: [groups][batch * out_pixels][steps][x_planes][kPieceWords]
static __global__ void gather_rows(BinaryConv conv, PieceLayout layout, uint64_t* rows) {
    const ConvGeometry& g = conv.geometry;
    const int64_t pixels = g.batch * g.out_pixels(), step_words = layout.step_words();
    for_each_item(g.groups * pixels * layout.steps(), [&](int64_t item) {
        const int64_t step = item % layout.steps(), row = item / layout.steps();
        const int64_t array = step / layout.steps_per_array(), within = step % layout.steps_per_array();
        const Corner corner = corner_of(g, row % pixels);
        for (int plane = 0; plane < layout.planes; ++plane) {
            uint64_t* piece = rows + (item * layout.planes + plane) * kPieceWords;
            for (int64_t i = 0; i < step_words; ++i) {
                const int64_t word = within * step_words + i;
                PatchWord patch;
                if (word < layout.array_words) patch = patch_word(conv, plane, corner, row / pixels, array, word);
                piece[i] = patch.bits;
                if (layout.paired) piece[step_words + i] = patch.valid & ~patch.bits;
            }
        }
    });
}

// w: [planes][outputs][arrays][array_words] -> rows: [outputs][steps][planes][kPieceWords]
static __global__ void arrange_rows(const uint64_t* w, int64_t outputs, PieceLayout layout, uint64_t* rows) {
    const int64_t step_words = layout.step_words();
    for_each_item(outputs * layout.steps(), [&](int64_t item) {
        const int64_t step = item % layout.steps(), output = item / layout.steps();
        const int64_t array = step / layout.steps_per_array(), within = step % layout.steps_per_array();
        for (int plane = 0; plane < layout.planes; ++plane) {
            uint64_t* piece = rows + (item * layout.planes + plane) * kPieceWords;
            for (int64_t i = 0; i < step_words; ++i) {
                const int64_t word = within * step_words + i;
                const bool present = word < layout.array_words;
                const int64_t at = ((plane * outputs + output) * layout.arrays + array) * layout.array_words + word;
                piece[i] = present ? w[at] : 0;
                // Ones beyond the array meet zeros of A.
                if (layout.paired) piece[step_words + i] = ~piece[i];
            }
        }
    });
}

}  // namespace bnnkit
