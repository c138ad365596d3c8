#include "factors.h"
#include "paired_rows.h"

namespace bnnkit {
namespace {

struct BFloat16 {
    uint16_t bits;
};

__device__ void set(float& to, float value) { to = value; }
// Rounded to the nearest, ties to even; NaN stays NaN.
__device__ void set(BFloat16& to, float value) {
    const uint32_t bits = __float_as_uint(value);
    const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    to.bits = static_cast<uint16_t>(nan ? 0x7FC0 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

template <class Value>
struct SlopeParameters {
    ConvGeometry geometry;
    ArrayRows rows;
    int bound, first_array, arrays;
    const float *slopes, *gy;
    Value* g;
};

template <class Shape, class Value>
class SlopeSink {
public:
    using Parameters = SlopeParameters<Value>;

    __device__ SlopeSink(const Parameters& p, const TilePlace<Shape>& place)
        : p_(p), place_(place), valid_(place, p.geometry) {
        for_each_result<Shape>(place, p.geometry.out_pixels(), p.geometry.out_channels,
                               [&](int r, int c, int i, int64_t at, int) { gy_[r][c][i] = p.gy[at]; });
    }
    __device__ void origin(int array, bool first, typename Shape::Origin&) {
        valid_.each(p_.geometry, p_.rows, array, first,
                    [&](int r, int half, int rows) { row_[r][half] = p_.bound - rows; });
    }
    __device__ void take(int array, const typename Shape::Counts& counts) const {
        const int64_t matrix = int64_t{place_.group} * p_.arrays + array - p_.first_array;
        Value* const g = p_.g + matrix * place_.rows * place_.columns;
        for_each_count<Shape>([&](int r, int c, int i) {
            const int row = place_.row(r, i), column = place_.column(c, i);
            if (!place_.inside(row, column)) return;
            const float slope = p_.slopes ? p_.slopes[2 * counts[r][c][i] + row_[r][i / 2]] : 1.0f;
            set(g[int64_t{row} * place_.columns + column], gy_[r][c][i] * slope);
        });
    }
    __device__ void finish(const typename Shape::Counts&) const {}

private:
    const Parameters& p_;
    TilePlace<Shape> place_;
    ValidRows<Shape> valid_;
    int row_[Shape::kRowTiles][2] = {};
    float gy_[Shape::kRowTiles][Shape::kColumnTiles][4] = {};
};

// The integers that the pieces of some arrays stand for: bits of the first half count +1, of the second -1.
// Weights read as -1 on lines without a row, where activations are 0: `fold` takes no such line.
// pieces: [groups][rows][layout.steps()][planes] -> values: [groups][arrays][rows][lines]
template <class Value>
__global__ void unpack_pieces(const uint64_t* pieces, PieceLayout layout, bool thermometer, int64_t groups,
                              int64_t rows, int64_t first_array, int64_t arrays, Value* values) {
    const int64_t lines = layout.steps_per_array() * 128;
    for_each_item(groups * arrays * rows * lines, [&](int64_t item) {
        const int64_t line = item % lines, row = item / lines % rows, array = item / lines / rows % arrays;
        const int64_t group = item / lines / rows / arrays;
        const int64_t step = (first_array + array) * layout.steps_per_array() + line / 128;
        const uint64_t* piece = pieces + ((group * rows + row) * layout.steps() + step) * layout.planes * kPieceWords;
        int value = 0;
        for (int plane = 0; plane < layout.planes; ++plane, piece += kPieceWords) {
            const int64_t word = line % 128 / kWordBits, bit = line % kWordBits;
            const int set = static_cast<int>(piece[word] >> bit & 1),
                      unset = static_cast<int>(piece[word + 2] >> bit & 1);
            value += (set - unset) * (thermometer ? 1 : 1 << plane);
        }
        bnnkit::set(values[item], static_cast<float>(value));
    });
}

template <class Value>
void factors(const AdcFactorsArgs& args, const Device& device) {
    const ConvGeometry& g = args.conv.geometry;
    DeviceWorkspace workspace(device.workspace);
    const PairedRows rows = PairedRows::of(args.conv, workspace);
    TileOperands operands = rows.prepare(args.conv, device.stream);
    operands.first_array = static_cast<int>(args.first_array);
    operands.arrays = static_cast<int>(args.arrays);
    const int64_t pixels = g.batch * g.out_pixels(), lines = args.lines();
    const SlopeParameters<Value> parameters = {g,
                                               ArrayRows(args.conv),
                                               static_cast<int>(args.slope_bound),
                                               operands.first_array,
                                               operands.arrays,
                                               args.slopes,
                                               args.gy,
                                               static_cast<Value*>(args.g)};
    const auto run = [&]<class Shape, bool kOnePair>() {
        launch_tiles<Shape, kOnePair, SlopeSink<Shape, Value>>(operands, parameters, g.groups, device.stream);
    };
    if (operands.pairs == 1)
        run.template operator()<GeneralShape, true>();
    else
        run.template operator()<GeneralShape, false>();
    launch(unpack_pieces<Value>, blocks_for(g.groups * args.arrays * pixels * lines), kThreads, 0, device.stream,
           rows.a, rows.a_layout, args.conv.x_thermometer, g.groups, pixels, args.first_array, args.arrays,
           static_cast<Value*>(args.x));
    launch(unpack_pieces<Value>, blocks_for(args.arrays * g.out_channels * lines), kThreads, 0, device.stream, rows.b,
           rows.b_layout, args.conv.w_thermometer, g.groups, g.group_outputs(), args.first_array, args.arrays,
           static_cast<Value*>(args.w));
}

// Word line of a channel of the group under a tap, and its array.
struct Line {
    int64_t array, line;
};

__device__ Line line_of(const ArrayLayout& layout, int64_t channel, int64_t tap) {
    const int64_t chunk = channel / layout.channels_per_array, within = channel % layout.channels_per_array;
    if (layout.tap) return {tap * layout.chunks() + chunk, within};
    return {chunk, tap * layout.channels_per_array + within};
}

// Channels are neighbouring threads, because they are neighbours in `patches`, which is read once per tap.
__global__ void fold_patches(AdcFoldArgs args) {
    const ConvGeometry& g = args.geometry;
    const int64_t channels = g.group_channels(), pixels = g.batch * g.out_pixels();
    for_each_item(g.batch * g.height * g.width * g.channels, [&](int64_t item) {
        const int64_t channel = item % g.channels, at = item / g.channels;
        const int64_t x = at % g.width, y = at / g.width % g.height, image = at / g.width / g.height;
        const int64_t group = channel / channels;
        float sum = 0;
        for (int64_t tap = 0; tap < g.taps(); ++tap) {
            const Line line = line_of(args.layout, channel % channels, tap);
            const int64_t array = line.array - args.first_array;
            if (array < 0 || array >= args.arrays) continue;
            const int64_t oy = y + g.pad_h - tap / g.kernel_w * g.dilation_h;
            const int64_t ox = x + g.pad_w - tap % g.kernel_w * g.dilation_w;
            if (oy < 0 || ox < 0 || oy % g.stride_h || ox % g.stride_w) continue;
            if (oy / g.stride_h >= g.out_height() || ox / g.stride_w >= g.out_width()) continue;
            const int64_t pixel = (image * g.out_height() + oy / g.stride_h) * g.out_width() + ox / g.stride_w;
            sum += args.patches[((group * args.arrays + array) * pixels + pixel) * args.lines + line.line];
        }
        args.gx[((image * g.channels + channel) * g.height + y) * g.width + x] += args.w_unit * sum;
    });
}

__global__ void fold_rows(AdcFoldArgs args) {
    const ConvGeometry& g = args.geometry;
    for_each_item(g.out_channels * g.group_channels() * g.taps(), [&](int64_t item) {
        const int64_t tap = item % g.taps(), channel = item / g.taps() % g.group_channels();
        const int64_t output = item / g.taps() / g.group_channels();
        const Line line = line_of(args.layout, channel, tap);
        const int64_t array = line.array - args.first_array;
        if (array < 0 || array >= args.arrays) return;
        const int64_t batch = output / g.group_outputs() * args.arrays + array;
        args.gw[item] =
            args.x_unit * args.rows[(batch * g.group_outputs() + output % g.group_outputs()) * args.lines + line.line];
    });
}

}  // namespace

int64_t adc_factors_cuda_workspace(const AdcFactorsArgs& args) {
    DeviceWorkspace workspace(nullptr);
    PairedRows::of(args.conv, workspace);
    return workspace.bytes();
}

void adc_factors_cuda(const AdcFactorsArgs& args, const Device& device) {
    if (args.bfloat16)
        factors<BFloat16>(args, device);
    else
        factors<float>(args, device);
}

void adc_fold_cuda(const AdcFoldArgs& args, const Device& device) {
    const ConvGeometry& g = args.geometry;
    launch(fold_patches, blocks_for(g.batch * g.channels * g.height * g.width), kThreads, 0, device.stream, args);
    launch(fold_rows, blocks_for(g.out_channels * g.group_channels() * g.taps()), kThreads, 0, device.stream, args);
}

}  // namespace bnnkit
