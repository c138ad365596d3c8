// Convolutions of floats. Included inside run_code.h, in an instruction-set region.
//
// Products of floats are exact in double and are added in the order of the taps: the same sums for every instruction set.
#pragma once

// What lies under neighbouring outputs of a row: [kernel row][column][channel] of the padded input as doubles.
struct DenseRows {
    DenseRows(const DenseConv& conv, int64_t outputs, double* room)
        : columns((outputs - 1) * conv.geometry.stride_w + conv.geometry.kernel_w), values(room) {}

    // Of outputs from (oy, ox) on. Columns between those that kernels reach are left as they are.
    void fill(const DenseConv& conv, const float* image, int64_t oy, int64_t ox) const {
        const ConvGeometry& g = conv.geometry;
        double* to = values;
        for (int64_t ky = 0; ky < g.kernel_h; ++ky)
            for (int64_t column = 0; column < columns; ++column, to += g.channels) {
                if (column % g.stride_w >= g.kernel_w) continue;
                const int64_t y = oy * g.stride_h - g.pad_h + ky, x = ox * g.stride_w - g.pad_w + column;
                if (y < 0 || y >= g.height || x < 0 || x >= g.width) {
                    memset(to, 0, static_cast<size_t>(g.channels) * sizeof(double));
                    continue;
                }
                const float* from = image + (y * g.width + x) * conv.in_stride;
                for (int64_t c = 0; c < g.channels; ++c) to[c] = static_cast<double>(from[c]);
            }
    }

    const int64_t columns;
    double* const values;
};

// Outputs times vectors whose sums stay in registers: 16 of AVX2, twice as many elsewhere.
constexpr int kDensePixels = Doubles::kLanes == 4 ? 6 : 4, kDenseVectors = Doubles::kLanes == 4 ? 2 : 4;
static_assert(kDensePixels <= kMostDensePixels, "room for their sums");

// Sums of up to kPixels outputs of a row, of all channels of a panel that there are: [output][kPanelChannels].
template <int kPixels>
void add_dense_tile(const DenseConv& conv, const DenseRows& rows, const double* first, int64_t count,
                    const double* weights, int64_t channels, double* sums) {
    constexpr int kVectors = kDenseVectors, kStep = kVectors * Doubles::kLanes;
    const ConvGeometry& g = conv.geometry;
    const int64_t run = g.kernel_w * g.channels, row = rows.columns * g.channels;
    const double* at[kPixels];
    for (int r = 0; r < kPixels; ++r) at[r] = first + (r < count ? r : 0) * g.stride_w * g.channels;
    for (int64_t step = 0; step < kPanelChannels && step < channels; step += kStep) {
        DenseTile<kPixels, kVectors> tile;
        const double* w = weights + step;
        for (int64_t ky = 0; ky < g.kernel_h; ++ky)
            for (int64_t k = ky * row; k < ky * row + run; ++k, w += kPanelChannels)
                tile.add(w, [&](int r) { return at[r][k]; });
        tile.store(sums + step, kPanelChannels);
    }
}

// How many of the outputs that are left a tile should take: a few that are left over cost as much as a tile.
inline int64_t dense_tile(int64_t left) { return left < kDensePixels - 1 || left == 7 || left == 8 ? 4 : kDensePixels; }

// Where one pixel makes one, all pixels of all images are one row.
inline DenseConv in_long_rows(const DenseConv& conv) {
    DenseConv flat = conv;
    ConvGeometry& g = flat.geometry;
    if (g.pointwise()) g.width *= g.height * g.batch, g.height = g.batch = 1;
    return flat;
}

void run_dense(const DenseConv& any, const float* x, const Finishing& f, unsigned char* scratch) {
    if (f.abreast.lanes) return run_dense_abreast(any, x, f, reinterpret_cast<double*>(scratch));
    const DenseConv conv = in_long_rows(any);
    const ConvGeometry& g = conv.geometry;
    const int64_t out_w = g.out_width(), out_h = g.out_height(), depth = g.taps() * g.channels;
    const int64_t most = dense_columns(conv), image_floats = g.height * g.width * conv.in_stride;
    double* const sums = reinterpret_cast<double*>(scratch);  // [kDensePixels][kPanelChannels]
    for (int64_t row = 0; row < g.batch * out_h; ++row)
        for (int64_t ox = 0; ox < out_w; ox += most) {
            const int64_t outputs = out_w - ox < most ? out_w - ox : most;
            const DenseRows rows(conv, outputs, sums + kDensePixels * kPanelChannels);
            rows.fill(conv, x + row / out_h * image_floats, row % out_h, ox);
            const double* weights = conv.weights;
            for (int64_t panel = 0; panel < g.out_channels; panel += kPanelChannels, weights += depth * kPanelChannels)
                for (int64_t first = 0, count; first < outputs; first += count) {
                    const int64_t left = outputs - first, tile = dense_tile(left);
                    count = left < tile ? left : tile;
                    const double* const at = rows.values + first * g.stride_w * g.channels;
                    if (tile == 4)
                        add_dense_tile<4>(conv, rows, at, count, weights, g.out_channels - panel, sums);
                    else
                        add_dense_tile<kDensePixels>(conv, rows, at, count, weights, g.out_channels - panel, sums);
                    for (int64_t r = 0; r < count; ++r)
                        for (int64_t c = 0; c < kPanelChannels && panel + c < g.out_channels; c += 16) {
                            const auto value = wide_at<Doubles16>(sums + r * kPanelChannels + c);
                            const auto bias = wide_at<Doubles16>(conv.bias + panel + c);
                            finish_values(f, numbers<Floats16>(value + bias),
                                          ChannelsOfPixel{row * out_w + ox + first + r, panel + c});
                        }
                }
        }
}
