// The shape of a convolution, and how its reduction is cut into arrays.
//
// A matrix product is the convolution of a 1x1 image with a 1x1 kernel: batch = m, channels = k, out_channels = n.
#pragma once

#include <algorithm>

#include "packing.h"

namespace bnnkit {

struct ConvGeometry {
    int64_t batch = 1, channels = 1, height = 1, width = 1;
    int64_t out_channels = 1, kernel_h = 1, kernel_w = 1;
    int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;
    int64_t groups = 1;

    constexpr int64_t out_height() const {
        return (height + 2 * pad_h - dilation_h * (kernel_h - 1) - 1) / stride_h + 1;
    }
    constexpr int64_t out_width() const { return (width + 2 * pad_w - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
    constexpr int64_t out_pixels() const { return out_height() * out_width(); }
    constexpr int64_t taps() const { return kernel_h * kernel_w; }
    constexpr int64_t group_channels() const { return channels / groups; }
    constexpr int64_t group_outputs() const { return out_channels / groups; }
    // Output pixel p reads exactly input pixel p: patches need no gathering.
    constexpr bool pointwise() const {
        return taps() == 1 && stride_h == 1 && stride_w == 1 && pad_h == 0 && pad_w == 0;
    }
};

// One group's reduction over taps * channels values, cut into arrays of word lines.
//
// The channels are cut into chunks of `channels_per_array`; the last chunk keeps the remainder. Mapping "channel": array s
// holds chunk s under every tap, value (tap t, channel c) is bit t*channels_per_array + c. Mapping "tap": array
// (t, chunk) holds that chunk under tap t. Every array starts on a word; bits of absent channels are 0 on both sides.
//
// A packed pixel stores each chunk in a slot of whole words, so that gathering a patch moves words, never single bits.
struct ArrayLayout {
    int64_t channels = 1;  // of one group
    int64_t taps = 1;
    int64_t channels_per_array = 1;  // size of a chunk
    bool tap = false;                // mapping "tap" instead of "channel"

    constexpr int64_t chunks() const { return ceil_div(channels, channels_per_array); }
    constexpr int64_t chunk_channels(int64_t chunk) const {
        return std::min(channels_per_array, channels - chunk * channels_per_array);
    }
    constexpr int64_t slot_words() const { return words_for(channels_per_array); }
    constexpr int64_t pixel_words() const { return chunks() * slot_words(); }
    constexpr int64_t arrays() const { return tap ? taps * chunks() : chunks(); }
    constexpr int64_t array_words() const { return tap ? slot_words() : words_for(taps * channels_per_array); }
    constexpr int64_t row_words() const { return arrays() * array_words(); }
};

constexpr int64_t kMaxTaps = 1024;    // 32 x 32 kernels; checked where the arguments are made
constexpr int64_t kMostColumns = 16;  // of a kernel whose patches are gathered eight at a time

// Whether eight neighbouring patches can be gathered at a time, one per lane: of chunks of at most 64 channels, each in a plane
// of its own, where neighbours lie side by side.
inline bool gathers_pixels(const ConvGeometry& g, const ArrayLayout& layout) {
    return !layout.tap && layout.slot_words() == 1 && g.stride_w == 1 && g.kernel_w <= kMostColumns && !g.pointwise();
}

inline ArrayLayout layout_of(const ConvGeometry& g, int64_t channels_per_array, bool tap) {
    return {g.group_channels(), g.taps(), channels_per_array, tap};
}

}  // namespace bnnkit
