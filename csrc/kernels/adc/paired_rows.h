// Both operands of an ADC kernel in paired pieces (pieces.h), and how many word lines of an array are no padding.
#pragma once

#include "../../core/cuda/tile_product.h"

namespace bnnkit {

struct PairedRows {
    PieceLayout a_layout, b_layout;
    uint64_t *a, *b;

    static PairedRows of(const BinaryConv& conv, DeviceWorkspace& workspace) {
        const ConvGeometry& g = conv.geometry;
        PairedRows rows = {};
        rows.a_layout = {conv.layout.arrays(), conv.layout.array_words(), conv.x_planes, true};
        rows.b_layout = {conv.layout.arrays(), conv.layout.array_words(), conv.w_planes, true};
        rows.a = workspace.take<uint64_t>(g.groups * g.batch * g.out_pixels() * rows.a_layout.row_words());
        rows.b = workspace.take<uint64_t>(g.out_channels * rows.b_layout.row_words());
        return rows;
    }

    TileOperands prepare(const BinaryConv& conv, void* stream) const {
        const ConvGeometry& g = conv.geometry;
        const int64_t pixels = g.batch * g.out_pixels();
        launch(gather_rows, blocks_for(g.groups * pixels * a_layout.steps()), kThreads, 0, stream, conv, a_layout, a);
        launch(arrange_rows, blocks_for(g.out_channels * b_layout.steps()), kThreads, 0, stream, conv.w, g.out_channels,
               b_layout, b);
        TileOperands operands;
        operands.a = a;
        operands.b = b;
        operands.rows = checked_count(pixels);
        operands.columns = checked_count(g.group_outputs());
        operands.arrays = operands.row_arrays = static_cast<int>(conv.layout.arrays());
        operands.steps_per_array = static_cast<int>(a_layout.steps_per_array());
        set_pairs(operands, conv);
        return operands;
    }
};

// How many word lines the arrays of a layout have, in the integers that a kernel reads quickly.
struct ArrayRows {
    explicit ArrayRows(const BinaryConv& conv)
        : chunks(static_cast<int>(conv.layout.chunks())),
          channels(static_cast<int>(conv.layout.chunk_channels(0))),
          last_channels(static_cast<int>(conv.layout.chunk_channels(chunks - 1))),
          product(static_cast<int>(conv.product_bound())),
          tap(conv.layout.tap) {}

    int chunks, channels, last_channels;
    int product;  // the largest one of two values
    bool tap;
};

// Valid word lines of an array as a thread's rows see them, times the largest product: what equal pairs are measured against.
template <class Shape>
class ValidRows {
public:
    __device__ ValidRows(const TilePlace<Shape>& place, const ConvGeometry& g) {
        for_each_row<Shape>([&](int r, int half) {
            const int row = place.row(r, 2 * half);
            const Corner corner = corner_of(g, row < place.rows ? row : 0);
            y_[r][half] = static_cast<int>(corner.y);
            x_[r][half] = static_cast<int>(corner.x);
            taps_[r][half] = static_cast<int>(valid_taps(g, corner));
        });
    }

    // Calls body(row tile, half, valid) where the numbers are not those of the array before.
    template <class Body>
    __device__ void each(const ConvGeometry& g, const ArrayRows& rows, int array, bool first, const Body& body) const {
        if (rows.tap) {
            const int tap = array / rows.chunks;
            const int weight =
                rows.product * (array % rows.chunks == rows.chunks - 1 ? rows.last_channels : rows.channels);
            for_each_row<Shape>(
                [&](int r, int half) { body(r, half, tap_valid(g, {0, y_[r][half], x_[r][half]}, tap) ? weight : 0); });
        } else if (first || array == rows.chunks - 1) {
            const int weight = rows.product * (array == rows.chunks - 1 ? rows.last_channels : rows.channels);
            for_each_row<Shape>([&](int r, int half) { body(r, half, taps_[r][half] * weight); });
        }
    }

private:
    int y_[Shape::kRowTiles][2], x_[Shape::kRowTiles][2], taps_[Shape::kRowTiles][2];
};

// Sums take as many registers as counts, so tiles are half as high as without converters.
using GeneralShape = TileShape<4, 2, 4>;

// Calls body<shape, whether for one pair of planes>: of the shapes for one pair the one that wastes the fewest columns, and
// small tiles for few rows. What is rare takes the general kernel, which costs less time to compile than to run.
template <bool kCommon, class Body>
void with_tile_shape(const TileOperands& operands, const Body& body) {
    if constexpr (kCommon) {
        constexpr int64_t kFewRows = 64;
        const auto computed = [&](int64_t width) { return ceil_div(operands.columns, width) * width; };
        if (operands.pairs == 1 && operands.rows <= kFewRows)
            return body.template operator()<TileShape<1, 1, 2>, true>();
        if (operands.pairs == 1 && computed(80) <= computed(64))
            return body.template operator()<TileShape<4, 2, 5>, true>();
        if (operands.pairs == 1) return body.template operator()<GeneralShape, true>();
    }
    body.template operator()<GeneralShape, false>();
}

}  // namespace bnnkit
