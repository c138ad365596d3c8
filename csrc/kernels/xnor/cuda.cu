// xnor on a GPU. With a and b the packed bits of a patch and of a row of weights,
//
//   sum over valid values of x * w  =  4 popc(a & b) - [2 popc(a) - valid] - [2 popc(b) - 2 popc(b on padded taps)]
//
// where only the first term needs both operands: the one that the tensor cores count. Sums are exact in 32 bits.
#include "../../core/cuda/tile_product.h"
#include "xnor.h"

namespace bnnkit {
namespace {

struct Pieces {
    PieceLayout layout;
    const uint64_t *a, *b;
    uint64_t *gathered, *arranged;  // none where the operand's own memory serves
    int32_t* row_terms;             // 2 popc(a) - valid: [groups][pixels]
    int32_t* column_terms;          // 2 popc(b): [out_channels]
    int32_t* tap_terms;             // 2 popc(b on a tap): [taps][out_channels]; none without padding
};

bool whole_pieces(const void* data, int64_t words) {
    return words % kPieceWords == 0 && reinterpret_cast<uintptr_t>(data) % tile::kChunkBytes == 0;
}

bool padded(const ConvGeometry& g) { return g.pad_h > 0 || g.pad_w > 0; }

Pieces pieces_of(const XnorArgs& args, DeviceWorkspace& workspace) {
    const BinaryConv& conv = args.conv;
    const ConvGeometry& g = conv.geometry;
    const int64_t pixels = g.batch * g.out_pixels();
    Pieces p = {};
    p.layout = {1, conv.layout.array_words(), 1, false};
    p.a = conv.x;
    p.b = conv.w;
    if (!(g.pointwise() && g.groups == 1 && whole_pieces(conv.x, conv.layout.array_words())))
        p.a = p.gathered = workspace.take<uint64_t>(g.groups * pixels * p.layout.row_words());
    if (!whole_pieces(conv.w, conv.layout.array_words()))
        p.b = p.arranged = workspace.take<uint64_t>(g.out_channels * p.layout.row_words());
    p.row_terms = workspace.take<int32_t>(g.groups * pixels);
    p.column_terms = workspace.take<int32_t>(g.out_channels);
    if (padded(g)) p.tap_terms = workspace.take<int32_t>(g.taps() * g.out_channels);
    return p;
}

// terms[row] = 2 popc(row) - valid(row): a warp per row.
template <class Valid>
__device__ void count_rows(const uint64_t* rows, int64_t count, int64_t words, const Valid& valid, int32_t* terms) {
    const int64_t warps = static_cast<int64_t>(gridDim.x) * blockDim.x / 32;
    for (int64_t row = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; row < count; row += warps) {
        int ones = 0;
        for (int64_t word = threadIdx.x % 32; word < words; word += 32) ones += __popcll(rows[row * words + word]);
        ones = sum_of_warp(ones);
        if (threadIdx.x % 32 == 0) terms[row] = 2 * ones - static_cast<int32_t>(valid(row));
    }
}

__global__ void count_pixels(ConvGeometry g, const uint64_t* rows, int64_t words, int32_t* terms) {
    const int64_t pixels = g.batch * g.out_pixels();
    const auto valid = [&](int64_t row) { return valid_taps(g, corner_of(g, row % pixels)) * g.group_channels(); };
    count_rows(rows, g.groups * pixels, words, valid, terms);
}

__global__ void count_outputs(int64_t outputs, const uint64_t* rows, int64_t words, int32_t* terms) {
    count_rows(rows, outputs, words, [](int64_t) { return 0; }, terms);
}

__global__ void count_taps(ConvGeometry g, const uint64_t* w, int64_t row_words, int32_t* terms) {
    for_each_item(g.taps() * g.out_channels, [&](int64_t item) {
        const int64_t tap = item / g.out_channels, output = item % g.out_channels, channels = g.group_channels();
        int ones = 0;
        for (int64_t c = 0; c < channels; c += kWordBits) {
            const int64_t count = std::min(int64_t{kWordBits}, channels - c);
            ones += __popcll(bits_at(w + output * row_words, tap * channels + c, count));
        }
        terms[item] = 2 * ones;
    });
}

struct SumParameters {
    ConvGeometry g;
    const int32_t *row_terms, *column_terms, *tap_terms;
    const float* bias;
    float* y;
};

// 2 popc(b) on the padded taps of a row. Not inlined: it is called for every value of a tile.
__device__ __noinline__ int32_t padded_ones(const SumParameters& p, int64_t row, int output) {
    const Corner corner = corner_of(p.g, row);
    if (valid_taps(p.g, corner) == p.g.taps()) return 0;
    int32_t ones = 0;
    for (int64_t tap = 0; tap < p.g.taps(); ++tap)
        if (!tap_valid(p.g, corner, tap)) ones += p.tap_terms[tap * p.g.out_channels + output];
    return ones;
}

template <class Shape>
class SumSink {
public:
    using Parameters = SumParameters;

    __device__ SumSink(const Parameters& p, const TilePlace<Shape>& place) : p_(p), place_(place) {}

    __device__ void origin(int, bool, typename Shape::Origin&) const {}
    __device__ void take(int, const typename Shape::Counts&) const {}
    __device__ void finish(const typename Shape::Counts& counts) const {
        int32_t row_term[Shape::kRowTiles][2] = {};
        for_each_row<Shape>([&](int r, int half) {
            const int row = place_.row(r, 2 * half);
            if (row < place_.rows) row_term[r][half] = p_.row_terms[int64_t{place_.group} * place_.rows + row];
        });
        for_each_result<Shape>(place_, p_.g.out_pixels(), p_.g.out_channels,
                               [&](int r, int c, int i, int64_t at, int output) {
                                   int32_t sum = 4 * counts[r][c][i] - row_term[r][i / 2] - p_.column_terms[output];
                                   if (p_.tap_terms) sum += padded_ones(p_, place_.row(r, i), output);
                                   const auto value = static_cast<float>(sum);
                                   p_.y[at] = p_.bias ? value + p_.bias[output] : value;
                               });
    }

private:
    const Parameters& p_;
    TilePlace<Shape> place_;
};

// Few rows leave few tiles, so that these should be small; else the width that wastes the fewest columns is taken.
template <class Body>
void with_tile_shape(const TileOperands& operands, const Body& body) {
    constexpr int64_t kFewRows = 64;
    const auto computed = [&](int64_t width) { return ceil_div(operands.columns, width) * width; };
    if (operands.rows <= kFewRows)
        body.template operator()<TileShape<1, 1, 2>>();
    else if (computed(96) < std::min(computed(128), computed(160)))
        body.template operator()<TileShape<2, 4, 3>>();
    else if (computed(160) <= computed(128))
        body.template operator()<TileShape<2, 4, 5>>();
    else
        body.template operator()<TileShape<2, 4, 4>>();
}

}  // namespace

int64_t xnor_cuda_workspace(const XnorArgs& args) {
    DeviceWorkspace workspace(nullptr);
    pieces_of(args, workspace);
    return workspace.bytes();
}

void xnor_cuda(const XnorArgs& args, const Device& device) {
    const ConvGeometry& g = args.conv.geometry;
    DeviceWorkspace workspace(device.workspace);
    const Pieces p = pieces_of(args, workspace);
    const int64_t pixels = g.batch * g.out_pixels(), words = p.layout.row_words();
    if (pixels == 0 || g.out_channels == 0) return;
    if (p.gathered)
        launch(gather_rows, blocks_for(g.groups * pixels * p.layout.steps()), kThreads, 0, device.stream, args.conv,
               p.layout, p.gathered);
    if (p.arranged)
        launch(arrange_rows, blocks_for(g.out_channels * p.layout.steps()), kThreads, 0, device.stream, args.conv.w,
               g.out_channels, p.layout, p.arranged);
    launch(count_pixels, blocks_for(g.groups * pixels * 32), kThreads, 0, device.stream, g, p.a, words, p.row_terms);
    launch(count_outputs, blocks_for(g.out_channels * 32), kThreads, 0, device.stream, g.out_channels, p.b, words,
           p.column_terms);
    if (p.tap_terms)
        launch(count_taps, blocks_for(g.taps() * g.out_channels), kThreads, 0, device.stream, g, args.conv.w,
               args.conv.layout.row_words(), p.tap_terms);

    TileOperands operands;
    operands.a = p.a;
    operands.b = p.b;
    operands.rows = checked_count(pixels);
    operands.columns = checked_count(g.group_outputs());
    operands.steps_per_array = static_cast<int>(p.layout.steps_per_array());
    set_pairs(operands, args.conv);
    const SumParameters parameters = {g, p.row_terms, p.column_terms, p.tap_terms, args.bias, args.y};
    with_tile_shape(operands, [&]<class Shape>() {
        launch_tiles<Shape, true, SumSink<Shape>>(operands, parameters, g.groups, device.stream);
    });
}

}  // namespace bnnkit
