// xnor on a GPU. With a and b the packed bits of a patch and of a row of weights,
//
//   sum over valid values of x * w  =  4 popc(a & b) - [2 popc(a) - valid] - [2 popc(b) - 2 popc(b on padded taps)]
//
// where only the first term needs both operands: the one that the tensor cores count. Sums are exact in 32 bits.
#include "cuda_sinks.h"
#include "xnor.h"

namespace bnnkit {
namespace {

struct Pieces {
    PieceLayout layout;
    const uint64_t *a, *b;
    uint64_t *gathered, *arranged;  // none where the operand's own memory serves
    int32_t* row_terms;
    int32_t* ones;          // 2 popc(b): [out_channels]
    int32_t* tap_ones;      // 2 popc(b on a tap): [taps][out_channels]; none without padding
    int32_t* column_terms;  // see SumTerms
};

bool whole_pieces(const void* data, int64_t words) {
    return words % kPieceWords == 0 && reinterpret_cast<uintptr_t>(data) % tile::kChunkBytes == 0;
}

bool padded(const ConvGeometry& g) { return g.pad_h > 0 || g.pad_w > 0; }

Pieces pieces_of(const BinaryConv& conv, DeviceWorkspace& workspace) {
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
    p.column_terms = p.ones = workspace.take<int32_t>(g.out_channels);
    if (padded(g)) {
        p.tap_ones = workspace.take<int32_t>(g.taps() * g.out_channels);
        p.column_terms = workspace.take<int32_t>(BorderKinds(g).count() * g.out_channels);
    }
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

constexpr int64_t kFewRows = 64;
using FewRows = TileShape<1, 1, 2>;
using ManyRows = TileShape<2, 4, 4>;

// Few rows leave few tiles, so that these should be small; else the width that wastes the fewest columns is taken.
template <class Body>
void with_tile_shape(const TileOperands& operands, const Body& body) {
    const auto computed = [&](int64_t width) { return ceil_div(operands.columns, width) * width; };
    if (operands.rows <= kFewRows)
        body.template operator()<FewRows>();
    else if (computed(96) < std::min(computed(128), computed(160)))
        body.template operator()<TileShape<2, 4, 3>>();
    else if (computed(160) <= computed(128))
        body.template operator()<TileShape<2, 4, 5>>();
    else
        body.template operator()<ManyRows>();
}

__global__ void subtract_padding(ConvGeometry g, BorderKinds kinds, const int32_t* ones, const int32_t* tap_ones,
                                 int32_t* terms) {
    for_each_item(kinds.count() * g.out_channels, [&](int64_t item) {
        const int64_t kind = item / g.out_channels, output = item % g.out_channels;
        int32_t term = ones[output];
        for (int64_t tap = 0; tap < g.taps(); ++tap)
            if (!kinds.valid(kind, tap / g.kernel_w, tap % g.kernel_w)) term -= tap_ones[tap * g.out_channels + output];
        terms[item] = term;
    });
}

// Prepares the operands and multiplies them: product(operands, terms) launches the tiles.
template <class Product>
void multiply(const BinaryConv& conv, const Device& device, const Product& product) {
    const ConvGeometry& g = conv.geometry;
    DeviceWorkspace workspace(device.workspace);
    const Pieces p = pieces_of(conv, workspace);
    const int64_t pixels = g.batch * g.out_pixels(), words = p.layout.row_words();
    if (pixels == 0 || g.out_channels == 0) return;
    if (p.gathered)
        launch(gather_rows, blocks_for(g.groups * pixels * p.layout.steps()), kThreads, 0, device.stream, conv,
               p.layout, p.gathered);
    if (p.arranged)
        launch(arrange_rows, blocks_for(g.out_channels * p.layout.steps()), kThreads, 0, device.stream, conv.w,
               g.out_channels, p.layout, p.arranged);
    launch(count_pixels, blocks_for(g.groups * pixels * 32), kThreads, 0, device.stream, g, p.a, words, p.row_terms);
    launch(count_outputs, blocks_for(g.out_channels * 32), kThreads, 0, device.stream, g.out_channels, p.b, words,
           p.ones);
    const BorderKinds kinds(g);
    if (p.tap_ones) {
        launch(count_taps, blocks_for(g.taps() * g.out_channels), kThreads, 0, device.stream, g, conv.w,
               conv.layout.row_words(), p.tap_ones);
        launch(subtract_padding, blocks_for(kinds.count() * g.out_channels), kThreads, 0, device.stream, g, kinds,
               p.ones, p.tap_ones, p.column_terms);
    }

    TileOperands operands;
    operands.a = p.a;
    operands.b = p.b;
    operands.rows = checked_count(pixels);
    operands.columns = checked_count(g.group_outputs());
    operands.steps_per_array = static_cast<int>(p.layout.steps_per_array());
    set_pairs(operands, conv);
    product(operands, SumTerms{g, kinds, p.row_terms, p.column_terms});
}

void store_words(const BinaryConv& conv, const float* bias, float* floats, int32_t* integers, const Device& device) {
    multiply(conv, device, [&](const TileOperands& operands, const SumTerms& terms) {
        with_tile_shape(operands, [&]<class Shape>() {
            launch_tiles<Shape, true, WordSink<Shape>>(operands, {terms, bias, floats, integers}, conv.geometry.groups,
                                                       device.stream);
        });
    });
}

// For matrices; two shapes are enough.
void store_shorts(const BinaryConv& conv, int16_t* y, const Device& device) {
    multiply(conv, device, [&](const TileOperands& operands, const SumTerms& terms) {
        const auto launched = [&]<class Shape>() {
            launch_tiles<Shape, true, ShortSink<Shape>>(operands, {terms, y}, conv.geometry.groups, device.stream);
        };
        operands.rows <= kFewRows ? launched.template operator()<FewRows>() : launched.template operator()<ManyRows>();
    });
}

}  // namespace

int64_t xnor_cuda_workspace(const BinaryConv& conv) {
    DeviceWorkspace workspace(nullptr);
    pieces_of(conv, workspace);
    return workspace.bytes();
}

void xnor_cuda(const XnorArgs& args, const Device& device) {
    store_words(args.conv, args.bias, args.y, nullptr, device);
}

void xnor_integers_cuda(const XnorIntegersArgs& args, const Device& device) {
    if (args.bits == 16)
        store_shorts(args.conv, static_cast<int16_t*>(args.y), device);
    else
        store_words(args.conv, nullptr, nullptr, static_cast<int32_t*>(args.y), device);
}

void xnor_bits_cuda(const XnorBitsArgs& args, const Device& device) {
    multiply(args.conv, device, [&](const TileOperands& operands, const SumTerms& terms) {
        auto* const y = reinterpret_cast<unsigned char*>(args.y);
        with_tile_shape(operands, [&]<class Shape>() {
            launch_tiles<Shape, true, BitSink<Shape>>(operands,
                                                      {terms, args.thresholds, args.flip, y, args.words() * 8},
                                                      args.conv.geometry.groups, device.stream);
        });
    });
}

}  // namespace bnnkit
