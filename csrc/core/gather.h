// Packed patches of consecutive output pixels, gathered word by word.
//
// Included inside an instruction-set region: everything here has internal linkage and is compiled once per variant. No
// standard-library template may be instantiated here, or its wide-register copy could be linked into the portable code.
#pragma once

#include <cstring>

#include "patches.h"

namespace bnnkit {
namespace {

typedef uint64_t Words8 __attribute__((vector_size(64), aligned(8)));

// Words of one plane of one group's patches: row r of `rows` is the patch of output pixel first_pixel + r, counted over the
// whole batch. `pixels` points at word 0 of the group inside pixel (0, 0, 0); pixels are `pixel_stride` words apart.
struct PatchSource {
    const ConvGeometry* geometry;
    const ArrayLayout* layout;
    const uint64_t* pixels;
    int64_t pixel_stride;
};

// dst |= the `words` words at src, moved up by `shift` bits; words beyond `limit` only ever receive zeros and are skipped.
inline void deposit(uint64_t* dst, int64_t limit, const uint64_t* src, int64_t words, int64_t bit) {
    const int64_t at = bit / kWordBits;
    const int shift = static_cast<int>(bit % kWordBits);
    for (int64_t i = 0; i < words; ++i) {
        if (at + i < limit) dst[at + i] |= src[i] << shift;
        if (shift != 0 && at + i + 1 < limit) dst[at + i + 1] |= src[i] >> (kWordBits - shift);
    }
}

// Mapping "channel", chunks of at most 64 channels: eight arrays at a time, one per lane.
inline void gather_channel_lanes(uint64_t* row, const uint64_t* const* taps, const ArrayLayout& layout) {
    const int64_t chunks = layout.chunks(), words = layout.array_words();
    for (int64_t chunk = 0; chunk < chunks; chunk += 8) {
        const int64_t lanes = chunks - chunk < 8 ? chunks - chunk : 8;
        for (int64_t word = 0; word < words; ++word) {
            Words8 sum = {};
            const int64_t first_bit = word * kWordBits;
            int64_t tap = first_bit / layout.channels_per_array;
            for (; tap < layout.taps && tap * layout.channels_per_array < first_bit + kWordBits; ++tap) {
                if (!taps[tap]) continue;
                Words8 value = {};
                if (lanes == 8)
                    memcpy(&value, taps[tap] + chunk, sizeof value);
                else
                    for (int64_t i = 0; i < lanes; ++i) value[i] = taps[tap][chunk + i];
                const int64_t shift = tap * layout.channels_per_array - first_bit;
                sum |= shift >= 0 ? value << shift : value >> -shift;
            }
            for (int64_t i = 0; i < lanes; ++i) row[(chunk + i) * words + word] = sum[i];
        }
    }
}

// taps[t] is the packed pixel under tap t, or nullptr where it is padding.
inline void gather_row(uint64_t* row, const uint64_t* const* taps, const ArrayLayout& layout) {
    const int64_t slot = layout.slot_words(), words = layout.array_words();
    if (!layout.tap && slot == 1) {
        gather_channel_lanes(row, taps, layout);
        return;
    }
    memset(row, 0, static_cast<size_t>(layout.row_words()) * sizeof(uint64_t));
    for (int64_t tap = 0; tap < layout.taps; ++tap) {
        if (!taps[tap]) continue;
        if (layout.tap) {
            memcpy(row + tap * layout.pixel_words(), taps[tap], static_cast<size_t>(layout.pixel_words()) * sizeof(uint64_t));
            continue;
        }
        for (int64_t chunk = 0; chunk < layout.chunks(); ++chunk)
            deposit(row + chunk * words, words, taps[tap] + chunk * slot, slot, tap * layout.channels_per_array);
    }
}

constexpr int64_t kMaxTaps = 1024;  // 32 x 32 kernels; checked where the arguments are made

inline void gather_patches(const PatchSource& source, int64_t first_pixel, int64_t count, uint64_t* rows) {
    const ConvGeometry& g = *source.geometry;
    const int64_t row_words = source.layout->row_words();
    if (g.pointwise()) {
        for (int64_t r = 0; r < count; ++r)
            memcpy(rows + r * row_words, source.pixels + (first_pixel + r) * source.pixel_stride,
                   static_cast<size_t>(row_words) * sizeof(uint64_t));
        return;
    }
    const uint64_t* taps[kMaxTaps];
    const int64_t out_w = g.out_width(), out_pixels = g.out_pixels();
    for (int64_t r = 0; r < count; ++r) {
        const int64_t image = (first_pixel + r) / out_pixels, pixel = (first_pixel + r) % out_pixels;
        const int64_t y0 = pixel / out_w * g.stride_h - g.pad_h, x0 = pixel % out_w * g.stride_w - g.pad_w;
        for (int64_t ky = 0; ky < g.kernel_h; ++ky) {
            const int64_t y = y0 + ky * g.dilation_h;
            for (int64_t kx = 0; kx < g.kernel_w; ++kx) {
                const int64_t x = x0 + kx * g.dilation_w;
                const bool inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
                taps[ky * g.kernel_w + kx] =
                    inside ? source.pixels + ((image * g.height + y) * g.width + x) * source.pixel_stride : nullptr;
            }
        }
        gather_row(rows + r * row_words, taps, *source.layout);
    }
}

}  // namespace
}  // namespace bnnkit
