// adc on a GPU: a tensor core counts the equal bits of an array, the cores convert the partial sum while it is in registers.
//
//   ps = 2 * equal - valid * (weight of all pairs of planes)             (paired pieces; see pieces.h)
//
// Sums of levels are integers; y follows from them in double, rounded once, as in every variant.
#include "cuda_converter.h"
#include "paired_rows.h"

namespace bnnkit {
namespace {

// What all converters share: where sums of levels go.
struct Output {
    ConvGeometry g;
    ArrayRows rows;
    uint32_t gain, correction;
    double scale, offset;  // offset: of all arrays together
    const float* bias;
    float* y;
};

// Adds up what `convert.code` says of every partial sum.
template <class Shape, class Convert>
class ConvertingSink {
public:
    struct Parameters {
        Output output;
        Convert convert;
    };

    __device__ ConvertingSink(const Parameters& p, const TilePlace<Shape>& place)
        : output_(p.output), convert_(p.convert), place_(place), valid_(place, p.output.g) {
        convert_.begin();
    }
    __device__ void origin(int array, bool first, typename Shape::Origin& origin) {
        valid_.each(output_.g, output_.rows, array, first, [&](int r, int half, int rows) {
            origin[r][2 * half] = origin[r][2 * half + 1] = convert_.origin(rows);
            row_[r][half] = convert_.row(rows);
        });
    }
    __device__ void take(int, const typename Shape::Counts& counts) {
        for_each_count<Shape>(
            [&](int r, int c, int i) { sums_[r][c][i] += convert_.code(counts[r][c][i], row_[r][i / 2]); });
    }
    __device__ void finish(const typename Shape::Counts&) const {
        for_each_result<Shape>(
            place_, output_.g.out_pixels(), output_.g.out_channels, [&](int r, int c, int i, int64_t at, int output) {
                const auto total =
                    static_cast<int32_t>(output_.gain * static_cast<uint32_t>(sums_[r][c][i]) + output_.correction);
                const double sum = output_.scale * total + output_.offset;
                output_.y[at] =
                    static_cast<float>(output_.bias ? sum + static_cast<double>(output_.bias[output]) : sum);
            });
    }

private:
    const Output& output_;
    Convert convert_;
    TilePlace<Shape> place_;
    ValidRows<Shape> valid_;
    int row_[Shape::kRowTiles][2] = {};
    typename Shape::Counts sums_ = {};
};

// Converters. `origin` and `row` are made per row and array, `code` turns every count into what is added up.
struct Single {
    static constexpr bool kCommon = true;
    int threshold;

    __device__ void begin() const {}
    // equal >= (threshold + valid) / 2, rounded up, if and only if the count does not end below 0.
    __device__ int origin(int valid) const { return -((threshold + valid + 1) >> 1); }
    __device__ int row(int) const { return 0; }
    __device__ int code(int count, int) const { return static_cast<int>(static_cast<unsigned>(count) >> 31); }
};

struct Uniform {
    static constexpr bool kCommon = true;
    int factor, shift;

    __device__ void begin() const {}
    __device__ int origin(int) const { return 0; }
    // Unsigned, because only the final sum is known to fit 31 bits.
    __device__ int row(int valid) const {
        return static_cast<int>(static_cast<unsigned>(shift) - static_cast<unsigned>(valid) * factor);
    }
    __device__ int code(int count, int row) const {
        const unsigned sum = static_cast<unsigned>(count) * (2u * factor) + static_cast<unsigned>(row);
        return static_cast<int>(sum >> CudaConverter::kCodeShift);
    }
};

struct Table {
    static constexpr bool kCommon = false;
    const int32_t* table;
    int entries, bound;

    __device__ void begin() {
        auto* copy = reinterpret_cast<int32_t*>(dynamic_shared());
        for (int i = static_cast<int>(threadIdx.x); i < entries; i += kTileThreads) copy[i] = table[i];
        table = copy;  // the main loop synchronizes before it is read
    }
    __device__ int origin(int) const { return 0; }
    __device__ int row(int valid) const { return bound - valid; }
    __device__ int code(int count, int row) const { return table[2 * count + row]; }
};

struct Search {
    static constexpr bool kCommon = false;
    const int32_t* thresholds;
    const int32_t* levels;
    int count;

    __device__ void begin() const {}
    __device__ int origin(int) const { return 0; }
    __device__ int row(int valid) const { return -valid; }
    __device__ int code(int equal, int row) const {
        const int ps = 2 * equal + row;
        int low = 0, high = count;  // the code lies in low..high
        while (low < high) {
            const int middle = (low + high) / 2;
            if (ps >= thresholds[middle])
                low = middle + 1;
            else
                high = middle;
        }
        return levels[low];
    }
};

template <class Convert>
void run(const AdcArgs& args, const TileOperands& operands, const Output& output, const Convert& convert,
         void* stream) {
    with_tile_shape<Convert::kCommon>(operands, [&]<class Shape, bool kOnePair>() {
        launch_tiles<Shape, kOnePair, ConvertingSink<Shape, Convert>>(operands, {output, convert},
                                                                      args.conv.geometry.groups, stream);
    });
}

}  // namespace

int64_t adc_cuda_workspace(const AdcArgs& args) {
    DeviceWorkspace workspace(nullptr);
    PairedRows::of(args.conv, workspace);
    workspace.take<int32_t>(static_cast<int64_t>(CudaConverter(args).table.size()));
    return workspace.bytes();
}

void adc_cuda(const AdcArgs& args, const Device& device) {
    const ConvGeometry& g = args.conv.geometry;
    if (g.batch * g.out_pixels() == 0 || g.out_channels == 0) return;
    const CudaConverter converter(args);
    DeviceWorkspace workspace(device.workspace);
    const PairedRows rows = PairedRows::of(args.conv, workspace);
    const auto entries = static_cast<int64_t>(converter.table.size());
    auto* table = workspace.take<int32_t>(entries);
    if (entries > 0) upload(table, converter.table.data(), entries * 4, device.stream);
    TileOperands operands = rows.prepare(args.conv, device.stream);

    const Output output = {g,
                           ArrayRows(args.conv),
                           converter.gain,
                           converter.correction,
                           args.scale,
                           args.offset * static_cast<double>(args.conv.layout.arrays()),
                           args.bias,
                           args.y};
    const auto bound = static_cast<int>(converter.bound);
    switch (converter.method) {
        case CudaConverter::Method::single:
            return run(args, operands, output, Single{converter.threshold}, device.stream);
        case CudaConverter::Method::uniform:
            return run(args, operands, output, Uniform{converter.factor, converter.shift}, device.stream);
        case CudaConverter::Method::table:
            operands.sink_bytes = static_cast<int>(ceil_div(entries * 4, 128) * 128);
            return run(args, operands, output, Table{table, static_cast<int>(entries), bound}, device.stream);
        case CudaConverter::Method::search:
            return run(args, operands, output, Search{table, table + args.level_count - 1, args.level_count - 1},
                       device.stream);
    }
}

}  // namespace bnnkit
