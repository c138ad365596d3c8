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
        operands.rows = static_cast<int>(pixels);
        operands.columns = static_cast<int>(g.group_outputs());
        operands.arrays = operands.row_arrays = static_cast<int>(conv.layout.arrays());
        operands.steps_per_array = static_cast<int>(a_layout.steps_per_array());
        set_pairs(operands, conv);
        return operands;
    }
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

    // Calls body(row tile, half, valid): half 0 stands for values 0 and 1 of a count, half 1 for 2 and 3.
    template <class Body>
    __device__ void each(const ConvGeometry& g, const ArrayLayout& layout, int product, int64_t array,
                         const Body& body) const {
        const int64_t chunk = layout.tap ? array % layout.chunks() : array, tap = array / layout.chunks();
        const int weight = static_cast<int>(layout.chunk_channels(chunk)) * product;
        for_each_row<Shape>([&](int r, int half) {
            const bool present = !layout.tap || tap_valid(g, {0, y_[r][half], x_[r][half]}, tap);
            body(r, half, layout.tap ? (present ? weight : 0) : taps_[r][half] * weight);
        });
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
