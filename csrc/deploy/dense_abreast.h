// Convolutions of floats with images abreast. Included inside run_code.h, in an instruction-set region.
//
// The same products in the same order as in dense_engine.h; what a pixel's outputs are made of is gathered first, for its channels
// lie so far apart that they share few places in a cache.
#pragma once

// Outputs times vectors of images whose sums stay in registers; outputs of a panel come in whole numbers of them.
constexpr int kAbreastOutputs = Doubles::kLanes == 8 ? 8 : 4, kAbreastVectors = Doubles::kLanes >= 4 ? 2 : 4;
static_assert(kPanelChannels % kAbreastOutputs == 0);

// What a pixel's outputs are made of, for 16 images as doubles: [tap][channel][16].
inline void gather_dense(const DenseConv& conv, const float* x, int64_t lanes, int64_t oy, int64_t ox, double* to) {
    const ConvGeometry& g = conv.geometry;
    for (int64_t tap = 0; tap < g.taps(); ++tap) {
        const int64_t iy = oy * g.stride_h - g.pad_h + tap / g.kernel_w,
                      ix = ox * g.stride_w - g.pad_w + tap % g.kernel_w;
        const bool inside = iy >= 0 && iy < g.height && ix >= 0 && ix < g.width;
        const float* from = x + (inside ? iy * g.width + ix : 0) * lanes;
        for (int64_t c = 0; c < g.channels; ++c, from += g.height * g.width * lanes, to += 16)
            store_wide(to, inside ? numbers<Doubles16>(floats_at(from)) : Doubles16{});
    }
}

// sums [kAbreastOutputs][16] of 16 images.
BNNKIT_INLINE void add_dense_abreast(const double* rows, int64_t depth, const double* weights, double* sums) {
    constexpr int kStep = kAbreastVectors * Doubles::kLanes;
    for (int image = 0; image < 16; image += kStep) {
        DenseTile<kAbreastOutputs, kAbreastVectors> tile;
        const double *row = rows + image, *w = weights;
        for (int64_t k = 0; k < depth; ++k, row += 16, w += kPanelChannels) tile.add(row, [&](int o) { return w[o]; });
        tile.store(sums + image, 16);
    }
}

void run_dense_abreast(const DenseConv& conv, const float* x, const Finishing& any, double* rows) {
    const Finishing f = any;
    const ConvGeometry& g = conv.geometry;
    const int64_t depth = g.taps() * g.channels, out_w = g.out_width();
    for (int64_t pixel = 0; pixel < g.out_pixels(); ++pixel)
        for (int64_t image = 0; image < f.abreast.lanes; image += 16) {
            gather_dense(conv, x + image, f.abreast.lanes, pixel / out_w, pixel % out_w, rows);
            for (int64_t first = 0; first < g.out_channels; first += kAbreastOutputs) {
                alignas(64) double sums[kAbreastOutputs * 16];
                add_dense_abreast(
                    rows, depth,
                    conv.weights + first / kPanelChannels * kPanelChannels * depth + first % kPanelChannels, sums);
                for (int64_t o = first; o < g.out_channels && o < first + kAbreastOutputs; ++o)
                    finish_values(f, numbers<Floats16>(wide_at<Doubles16>(sums + (o - first) * 16) + conv.bias[o]),
                                  ImagesOfChannel{o, o * g.out_pixels() + pixel, image});
            }
        }
}
