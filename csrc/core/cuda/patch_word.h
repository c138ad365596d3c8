// Where the bits of a gathered patch lie: the same arithmetic as core/gather.h, a word at a time and on any device.
#pragma once

#include "../binary_conv.h"
#include "launch.h"

namespace bnnkit {

struct PatchWord {
    uint64_t bits = 0, valid = 0;
};

__host__ __device__ constexpr uint64_t low_ones(int64_t count) {
    return count >= kWordBits ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Bits [first, first + count) of a string of words, count <= 64. Reads no word without one of these bits.
__host__ __device__ constexpr uint64_t bits_at(const uint64_t* words, int64_t first, int64_t count) {
    const int64_t word = first / kWordBits, shift = first % kWordBits;
    uint64_t bits = words[word] >> shift;
    if (shift + count > kWordBits) bits |= words[word + 1] << (kWordBits - shift);
    return bits & low_ones(count);
}

// Where the patch of an output pixel begins in the image; negative in the padding.
struct Corner {
    int64_t image, y, x;
};

__host__ __device__ constexpr Corner corner_of(const ConvGeometry& g, int64_t pixel) {
    const int64_t within = pixel % g.out_pixels();
    return {pixel / g.out_pixels(), within / g.out_width() * g.stride_h - g.pad_h,
            within % g.out_width() * g.stride_w - g.pad_w};
}

__host__ __device__ constexpr bool tap_valid(const ConvGeometry& g, const Corner& corner, int64_t tap) {
    const int64_t y = corner.y + tap / g.kernel_w * g.dilation_h, x = corner.x + tap % g.kernel_w * g.dilation_w;
    return y >= 0 && y < g.height && x >= 0 && x < g.width;
}

__host__ __device__ constexpr int64_t valid_taps(const ConvGeometry& g, const Corner& corner) {
    int64_t rows = 0, columns = 0;
    for (int64_t i = 0; i < g.kernel_h; ++i) {
        const int64_t y = corner.y + i * g.dilation_h;
        rows += y >= 0 && y < g.height;
    }
    for (int64_t i = 0; i < g.kernel_w; ++i) {
        const int64_t x = corner.x + i * g.dilation_w;
        columns += x >= 0 && x < g.width;
    }
    return rows * columns;
}

// Word `word` of array `array` as the output pixel at `corner` sees it, and which of its bits are no padding.
__host__ __device__ constexpr PatchWord patch_word(const BinaryConv& conv, int plane, const Corner& corner,
                                                   int64_t group, int64_t array, int64_t word) {
    const ConvGeometry& g = conv.geometry;
    const ArrayLayout& layout = conv.layout;
    const int64_t chunk = layout.tap ? array % layout.chunks() : array;
    const int64_t channels = layout.chunk_channels(chunk), per_tap = layout.channels_per_array;
    const int64_t slot = group * layout.pixel_words() + chunk * layout.slot_words();
    const uint64_t* x = conv.x + plane * conv.x_plane_words();
    int64_t tap = layout.tap ? array / layout.chunks() : word * kWordBits / per_tap;
    int64_t channel = layout.tap ? word * kWordBits : word * kWordBits % per_tap;
    PatchWord out;
    for (int64_t at = 0; at < kWordBits && tap < g.taps(); ++tap) {
        const int64_t count = std::min(per_tap - channel, kWordBits - at);
        if (tap_valid(g, corner, tap)) {
            const int64_t y = corner.y + tap / g.kernel_w * g.dilation_h;
            const int64_t column = corner.x + tap % g.kernel_w * g.dilation_w;
            const int64_t pixel = (corner.image * g.height + y) * g.width + column;
            out.bits |= bits_at(x + pixel * conv.x_pixel_words() + slot, channel, count) << at;
            const int64_t present = std::max(std::min(channels - channel, count), int64_t{0});
            out.valid |= low_ones(present) << at;
        }
        if (layout.tap) break;
        at += count;
        channel = 0;
    }
    return out;
}

}  // namespace bnnkit
