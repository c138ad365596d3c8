// Packed patches of consecutive output pixels, gathered word by word.
//
// Included inside an instruction-set region: everything here has internal linkage and is compiled once per variant. No
// standard-library template may be instantiated here, or its wide-register copy could be linked into the portable code.
#pragma once

#include <cstdlib>
#include <cstring>

#include "huge_pages.h"
#include "patches.h"

namespace bnnkit {
namespace {

constexpr int64_t kMaxTaps = 1024;    // 32 x 32 kernels; checked where the arguments are made
constexpr int64_t kGatherSlack = 16;  // words past the last row that a gather may overwrite

struct Scratch {  // 64-byte aligned memory
    explicit Scratch(int64_t bytes)
        : data(static_cast<unsigned char*>(aligned_alloc(64, static_cast<size_t>(ceil_div(bytes + 1, 64) * 64)))) {
        prefer_huge_pages(data, bytes);
    }
    ~Scratch() { free(data); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    unsigned char* data;
};

typedef uint64_t Words8 __attribute__((vector_size(64), aligned(8)));

// Gathers one group of one plane at a time. Padded taps read a pixel of zeros.
class Gatherer {
public:
    Gatherer(const ConvGeometry& geometry, const ArrayLayout& layout)
        : g_(geometry),
          layout_(layout),
          zeros_((layout.pixel_words() + 8) * static_cast<int64_t>(sizeof(uint64_t))),
          tap_pixels_(geometry.taps() * static_cast<int64_t>(sizeof(int64_t))) {
        memset(zeros_.data, 0, static_cast<size_t>(layout.pixel_words() + 8) * sizeof(uint64_t));
        for (int64_t tap = 0; tap < g_.taps(); ++tap)
            reinterpret_cast<int64_t*>(tap_pixels_.data)[tap] =
                tap / g_.kernel_w * g_.dilation_h * g_.width + tap % g_.kernel_w * g_.dilation_w;
    }

    // Pixels from the first tap to each, where all taps are inside.
    const int64_t* tap_pixels() const { return reinterpret_cast<const int64_t*>(tap_pixels_.data); }

    bool inside(int64_t y0, int64_t x0) const {
        return y0 >= 0 && x0 >= 0 && y0 + (g_.kernel_h - 1) * g_.dilation_h < g_.height &&
               x0 + (g_.kernel_w - 1) * g_.dilation_w < g_.width;
    }

    // Rows are written in order and each may spill up to kGatherSlack words into the next: give the last one that room.
    // Row r of `rows` becomes the patch of output pixel first_pixel + r, counted over the whole batch. `plane` points at the
    // group's word 0 inside pixel (0, 0, 0); pixels are `stride` words apart; `last` is the plane's last readable word.
    void gather(const uint64_t* plane, int64_t stride, const uint64_t* last, int64_t first_pixel, int64_t count,
                uint64_t* rows) const {
        const int64_t row_words = layout_.row_words();
        if (g_.pointwise()) {
            for (int64_t r = 0; r < count; ++r)
                memcpy(rows + r * row_words, plane + (first_pixel + r) * stride,
                       static_cast<size_t>(row_words) * sizeof(uint64_t));
            return;
        }
        const int64_t out_w = g_.out_width(), out_h = g_.out_height();
        int64_t ox = first_pixel % out_w, oy = first_pixel / out_w % out_h, image = first_pixel / out_w / out_h;
        const uint64_t* taps[kMaxTaps];
        for (int64_t r = 0; r < count; ++r) {
            point_taps(plane + image * g_.height * g_.width * stride, stride, oy * g_.stride_h - g_.pad_h,
                       ox * g_.stride_w - g_.pad_w, taps);
            gather_row(rows + r * row_words, taps, last);
            if (++ox == out_w) {
                ox = 0;
                if (++oy == out_h) oy = 0, ++image;
            }
        }
    }

private:
    void point_taps(const uint64_t* image, int64_t stride, int64_t y0, int64_t x0, const uint64_t** taps) const {
        if (inside(y0, x0)) {
            const uint64_t* first = image + (y0 * g_.width + x0) * stride;
            for (int64_t tap = 0; tap < layout_.taps; ++tap) taps[tap] = first + tap_pixels()[tap] * stride;
            return;
        }
        const uint64_t* zeros = reinterpret_cast<const uint64_t*>(zeros_.data);
        for (int64_t ky = 0, y = y0; ky < g_.kernel_h; ++ky, y += g_.dilation_h) {
            const bool row_inside = y >= 0 && y < g_.height;
            const uint64_t* row = image + y * g_.width * stride;
            for (int64_t kx = 0, x = x0; kx < g_.kernel_w; ++kx, x += g_.dilation_w)
                *taps++ = row_inside && x >= 0 && x < g_.width ? row + x * stride : zeros;
        }
    }

    void gather_row(uint64_t* row, const uint64_t* const* taps, const uint64_t* last) const {
        const int64_t slot = layout_.slot_words(), words = layout_.array_words(), pixel = layout_.pixel_words();
        if (layout_.tap) {
            for (int64_t tap = 0; tap < layout_.taps; ++tap)
                memcpy(row + tap * pixel, taps[tap], static_cast<size_t>(pixel) * sizeof(uint64_t));
        } else if (slot == 1) {
            for (int64_t chunk = 0; chunk < layout_.chunks(); chunk += 8) gather_lanes(row, taps, chunk, last);
        } else {
            memset(row, 0, static_cast<size_t>(layout_.row_words()) * sizeof(uint64_t));
            for (int64_t tap = 0; tap < layout_.taps; ++tap)
                for (int64_t chunk = 0; chunk < layout_.chunks(); ++chunk)
                    deposit(row + chunk * words, words, taps[tap] + chunk * slot, slot,
                            tap * layout_.channels_per_array);
        }
    }

    // Mapping "channel", chunks of at most 64 channels: eight arrays at a time, one per lane. Reading eight words where
    // fewer belong to the pixel meets the next pixel's, which are dropped, but must not pass the end of the plane.
    void gather_lanes(uint64_t* row, const uint64_t* const* taps, int64_t chunk, const uint64_t* last) const {
        const int64_t words = layout_.array_words();
        uint64_t* out = row + chunk * words;
        if (words == 1) {
            const Words8 sum = lanes_of(taps, chunk, last, 0);
            memcpy(out, &sum, sizeof sum);
        } else if (words == 2) {
            const Words8 low = lanes_of(taps, chunk, last, 0), high = lanes_of(taps, chunk, last, 1);
            const Words8 first = __builtin_shuffle(low, high, Words8{0, 8, 1, 9, 2, 10, 3, 11});
            const Words8 second = __builtin_shuffle(low, high, Words8{4, 12, 5, 13, 6, 14, 7, 15});
            memcpy(out, &first, sizeof first);
            memcpy(out + 8, &second, sizeof second);
        } else {
            const int64_t lanes = layout_.chunks() - chunk < 8 ? layout_.chunks() - chunk : 8;
            for (int64_t word = 0; word < words; ++word) {
                const Words8 sum = lanes_of(taps, chunk, last, word);
                for (int64_t i = 0; i < lanes; ++i) out[i * words + word] = sum[i];
            }
        }
    }

    // One word of eight arrays; lanes past the last array hold whatever.
    Words8 lanes_of(const uint64_t* const* taps, int64_t chunk, const uint64_t* last, int64_t word) const {
        const int64_t per = layout_.channels_per_array, first_bit = word * kWordBits;
        int64_t tap = first_bit / per, shift = tap * per - first_bit;
        Words8 sum = {};
        if (shift < 0) {  // the tap that straddles the word's beginning
            sum = eight_words(taps[tap] + chunk, last) >> static_cast<uint64_t>(-shift);
            ++tap, shift += per;
        }
        for (; tap < layout_.taps && shift < kWordBits; ++tap, shift += per)
            sum |= eight_words(taps[tap] + chunk, last) << static_cast<uint64_t>(shift);
        return sum;
    }

    Words8 eight_words(const uint64_t* from, const uint64_t* last) const {
        Words8 value = {};
        const uint64_t* zeros = reinterpret_cast<const uint64_t*>(zeros_.data);
        const bool zero = from >= zeros && from < zeros + layout_.pixel_words();
        if (__builtin_expect(from + 7 <= last || zero, 1))
            memcpy(&value, from, sizeof value);
        else
            for (int64_t i = 0; from + i <= last; ++i) value[i] = from[i];
        return value;
    }

    // dst |= the words at src, moved up by `bit`; words at `limit` and beyond only ever receive zeros and are skipped.
    static void deposit(uint64_t* dst, int64_t limit, const uint64_t* src, int64_t words, int64_t bit) {
        const int64_t at = bit / kWordBits;
        const int shift = static_cast<int>(bit % kWordBits);
        for (int64_t i = 0; i < words; ++i) {
            if (at + i < limit) dst[at + i] |= src[i] << shift;
            if (shift != 0 && at + i + 1 < limit) dst[at + i + 1] |= src[i] >> (kWordBits - shift);
        }
    }

    const ConvGeometry& g_;
    const ArrayLayout& layout_;
    Scratch zeros_, tap_pixels_;
};

}  // namespace
}  // namespace bnnkit
