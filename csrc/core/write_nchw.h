// Tiles of integer sums to floats. Included inside an instruction-set region after lanes_*.h.
#pragma once

#include "geometry.h"

namespace bnnkit {
namespace {

// Larger outputs go past the caches: they would not stay there, and a line about to be overwritten need not be read first.
constexpr int64_t kStreamedBytes = int64_t{4} << 20;

inline Floats16 floats_at(const float* p) { return wide_at<Floats16>(p); }
inline Ints16 ints_at(const int32_t* p) { return wide_at<Ints16>(p); }

struct Output {
    float* y;  // [image][output][pixel]
    bool streamed;

    Output(float* y, const ConvGeometry& g)
        : y(y),
          streamed(g.batch * g.out_channels * g.out_pixels() * static_cast<int64_t>(sizeof(float)) >= kStreamedBytes) {}

    void store(float* to, Floats16 values) const {
        if (streamed && reinterpret_cast<uintptr_t>(to) % sizeof values == 0)
            stream_line(to, values);
        else
            store_wide(to, values);
    }
};

// Stores finish(sums of 16 values or 1, output) of a tile; where an image has one pixel only, outputs are what lies contiguous.
// `Finish` takes (int32_t, output), (Ints16 of pixels, output) and neighbours(Ints16 of outputs, first output).
template <int kColumns, class Finish>
inline void write_nchw(const ConvGeometry& g, const int32_t* tile, int64_t first_pixel, int64_t pixels,
                       int64_t first_output, int64_t outputs, const Output& output, const Finish& finish) {
    const int64_t out_pixels = g.out_pixels();
    if (out_pixels == 1) {
        for (int64_t r = 0; r < pixels; ++r, tile += kColumns) {
            float* out = output.y + (first_pixel + r) * g.out_channels + first_output;
            int64_t o = 0;
            for (; o + 16 <= outputs; o += 16) {
                output.store(out + o, finish.neighbours(ints_at(tile + o), first_output + o));
            }
            for (; o < outputs; ++o) out[o] = finish(tile[o], first_output + o);
        }
        return;
    }
    for (int64_t r = 0; r < pixels;) {
        const int64_t image = (first_pixel + r) / out_pixels, pixel = (first_pixel + r) % out_pixels;
        const int64_t run = pixels - r < out_pixels - pixel ? pixels - r : out_pixels - pixel;
        float* out = output.y + (image * g.out_channels + first_output) * out_pixels + pixel;
        int64_t i = 0;
        for (; kTransposed == 16 && i + kTransposed <= run; i += kTransposed) {
            for (int64_t first = 0; first < outputs; first += kTransposed) {
                Ints16 sums[kTransposed];
                for (int64_t k = 0; k < kTransposed; ++k) sums[k] = ints_at(tile + (r + i + k) * kColumns + first);
                transpose(sums);
                for (int64_t k = 0; k < kTransposed && first + k < outputs; ++k)
                    output.store(out + (first + k) * out_pixels + i, finish(sums[k], first_output + first + k));
            }
        }
        for (int64_t o = 0; o < outputs; ++o)
            for (int64_t j = i; j < run; ++j)
                out[o * out_pixels + j] = finish(tile[(r + j) * kColumns + o], first_output + o);
        r += run;
    }
}

}  // namespace
}  // namespace bnnkit
