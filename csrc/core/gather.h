// Packed patches of consecutive output pixels, gathered word by word.
//
// Included inside an instruction-set region after lanes_*.h: everything here has internal linkage and is compiled once per
// variant. No standard-library template may be instantiated here, or its wide-register copy could be linked into the portable
// code.
#pragma once

#include <utility>

#include "patches.h"
#include "scratch.h"

namespace bnnkit {
namespace {

constexpr int64_t kGatherSlack = 16;  // words past the last row that a gather may overwrite

// A native vector of words: compilers shuffle wider ones through memory, in pieces that wait for each other.
constexpr int kGathered = kLaneBytes / 8;
typedef uint64_t Words __attribute__((vector_size(kLaneBytes)));
typedef uint64_t WordsInMemory __attribute__((vector_size(kLaneBytes), aligned(8), may_alias));

template <int... kIndex>
inline Words counted(std::integer_sequence<int, kIndex...>) {
    return Words{static_cast<uint64_t>(kIndex)...};
}
inline Words lane_numbers() { return counted(std::make_integer_sequence<int, kGathered>{}); }

// Words of two vectors in turn, of their first or second halves.
template <int kFirst, int... kIndex>
inline Words in_turn(Words even, Words odd, std::integer_sequence<int, kIndex...>) {
    return __builtin_shufflevector(even, odd, (kFirst + kIndex / 2 + kIndex % 2 * kGathered)...);
}
template <int kHalf>
inline Words in_turn(Words even, Words odd) {
    return in_turn<kHalf * kGathered / 2>(even, odd, std::make_integer_sequence<int, kGathered>{});
}

// Gathers one group of one plane at a time. Padded taps read a pixel of zeros.
class Gatherer {
public:
    Gatherer(const ConvGeometry& geometry, const ArrayLayout& layout)
        : g_(geometry),
          layout_(layout),
          zeros_((layout.pixel_words() + 8) * static_cast<int64_t>(sizeof(uint64_t))),
          tap_pixels_(geometry.taps() * static_cast<int64_t>(sizeof(int64_t))),
          moves_((geometry.taps() + layout.array_words()) * static_cast<int64_t>(sizeof(Move))),
          word_moves_((layout.array_words() + 1) * static_cast<int64_t>(sizeof(int64_t))) {
        memset(zeros_.data, 0, static_cast<size_t>(layout.pixel_words() + 8) * sizeof(uint64_t));
        for (int64_t tap = 0; tap < g_.taps(); ++tap)
            reinterpret_cast<int64_t*>(tap_pixels_.data)[tap] =
                tap / g_.kernel_w * g_.dilation_h * g_.width + tap % g_.kernel_w * g_.dilation_w;
        if (chunks_in_lanes()) list_moves();
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
        if (stride == 1 && gathers_pixels(g_, layout_))
            return gather_parts({plane, last, 1, 0, 0}, first_pixel, count, rows);
        const uint64_t* taps[kMaxTaps];
        int64_t move_words[2 * kMaxTaps];
        for (int64_t i = 0; i < move_count(); ++i) move_words[i] = tap_pixels()[moves()[i].tap] * stride;
        const int64_t reach = tap_pixels()[layout_.taps - 1] * stride + layout_.pixel_words() + kGathered - 1;
        for (int64_t r = 0; r < count; ++r, rows += row_words) {
            const int64_t y0 = oy * g_.stride_h - g_.pad_h, x0 = ox * g_.stride_w - g_.pad_w;
            const uint64_t* pixels = plane + image * g_.height * g_.width * stride;
            const uint64_t* first = pixels + (y0 * g_.width + x0) * stride;
            if (chunks_in_lanes() && inside(y0, x0) && first + reach <= last) {
                gather_lanes(rows, [&](int64_t i, int64_t chunk) { return load_words(first + move_words[i] + chunk); });
            } else {
                point_taps(pixels, stride, y0, x0, taps);
                if (chunks_in_lanes())
                    gather_lanes(
                        rows, [&](int64_t i, int64_t chunk) { return load_words(taps[moves()[i].tap] + chunk, last); });
                else
                    gather_words(rows, taps);
            }
            if (++ox == out_w) {
                ox = 0;
                if (++oy == out_h) oy = 0, ++image;
            }
        }
    }

    // Planes that are gathered together, each [batch][height][width] of words: of some chunks, or bit planes of one chunk.
    struct Parts {
        const uint64_t *first, *last;  // readable words, from the first part on
        int64_t count;
        int64_t from_stride, to_stride;  // words from part to part, where they come from and in a row's patches
    };

    // As `gather`, for what `gathers_pixels`: part p of a row begins at rows + p * to_stride.
    void gather_parts(const Parts& parts, int64_t first_pixel, int64_t count, uint64_t* rows) const {
        const int64_t out_w = g_.out_width(), out_h = g_.out_height(), row_words = layout_.row_words();
        int64_t ox = first_pixel % out_w, oy = first_pixel / out_w % out_h, image = first_pixel / out_w / out_h;
        for (int64_t r = 0, some; r < count; r += some, rows += some * row_words) {
            some = out_w - ox < count - r ? out_w - ox : count - r;
            some = some < kGathered ? some : kGathered;
            const Run run(g_, parts, image, oy, ox);
            int64_t part = 0;
            for (; part + 3 <= parts.count; part += 3) gather_pixels<3>(run, parts, part, some, rows);
            if (part + 2 == parts.count) gather_pixels<2>(run, parts, part, some, rows);
            if (part + 1 == parts.count) gather_pixels<1>(run, parts, part, some, rows);
            if ((ox += some) == out_w) {
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

    void gather_words(uint64_t* row, const uint64_t* const* taps) const {
        const int64_t slot = layout_.slot_words(), words = layout_.array_words(), pixel = layout_.pixel_words();
        if (layout_.tap) {
            for (int64_t tap = 0; tap < layout_.taps; ++tap)
                memcpy(row + tap * pixel, taps[tap], static_cast<size_t>(pixel) * sizeof(uint64_t));
            return;
        }
        if (layout_.chunks() == 1 && layout_.channels_per_array % kWordBits == 0) {
            for (int64_t tap = 0; tap < layout_.taps; ++tap)
                memcpy(row + tap * slot, taps[tap], static_cast<size_t>(slot) * sizeof(uint64_t));
            return;
        }
        for (int64_t chunk = 0; chunk < layout_.chunks(); ++chunk) append(row + chunk * words, taps, chunk * slot);
    }

    // One array of a row: the bits of all taps, one after the other. Unused bits of a slot are 0.
    void append(uint64_t* row, const uint64_t* const* taps, int64_t first_word) const {
        uint64_t word = 0;
        int64_t at = 0;
        for (int64_t tap = 0; tap < layout_.taps; ++tap) {
            const uint64_t* from = taps[tap] + first_word;
            for (int64_t left = layout_.channels_per_array; left > 0; left -= kWordBits, ++from) {
                word |= *from << at;
                const int64_t next = at + (left < kWordBits ? left : kWordBits);
                if (next < kWordBits) {
                    at = next;
                    continue;
                }
                *row++ = word;
                word = at == 0 ? 0 : *from >> (kWordBits - at);
                at = next - kWordBits;
            }
        }
        if (at != 0) *row = word;
    }

    // Mapping "channel" with chunks of at most 64 channels: as many arrays at a time as a vector has lanes, each word of theirs
    // made by moves. Reading a vector where fewer words belong to the pixel meets the next pixel's, which are dropped.
    bool chunks_in_lanes() const { return !layout_.tap && layout_.slot_words() == 1; }

    struct
        Move {  // a tap's bits to their place in a word: upwards, but downwards for a tap that began in the word before
        Words shift;
        int64_t tap, y, kx;
        bool down;  // only a word's first
    };

    const Move* moves() const { return reinterpret_cast<const Move*>(moves_.data); }
    const int64_t* word_moves() const {
        return reinterpret_cast<const int64_t*>(word_moves_.data);
    }  // first of each word
    int64_t move_count() const { return chunks_in_lanes() ? word_moves()[layout_.array_words()] : 0; }

    void list_moves() {
        const int64_t per = layout_.channels_per_array;
        Move* move = reinterpret_cast<Move*>(moves_.data);
        int64_t* first = reinterpret_cast<int64_t*>(word_moves_.data);
        for (int64_t word = 0; word < layout_.array_words(); ++word) {
            const int64_t first_bit = word * kWordBits;
            first[word] = move - moves();
            for (int64_t tap = first_bit / per; tap < layout_.taps && tap * per < first_bit + kWordBits; ++tap) {
                const int64_t up = tap * per - first_bit;
                *move++ = {Words{} + static_cast<uint64_t>(up < 0 ? -up : up), tap, tap / g_.kernel_w * g_.dilation_h,
                           tap % g_.kernel_w, up < 0};
            }
        }
        first[layout_.array_words()] = move - moves();
    }

    // Neighbouring output pixels of one row, one per lane.
    struct Run {
        Run(const ConvGeometry& g, const Parts& parts, int64_t image, int64_t oy, int64_t ox)
            : y0(oy * g.stride_h - g.pad_h), x0(ox - g.pad_w) {
            pixels = parts.first + (image * g.height + y0) * g.width + x0;
            for (int64_t kx = 0; kx < g.kernel_w; ++kx) {
                const Words column = lane_numbers() + static_cast<uint64_t>(x0 + kx * g.dilation_w);
                inside[kx] = (Words)(column < static_cast<uint64_t>(g.width));
            }
            const int64_t reach =
                (g.kernel_h - 1) * g.dilation_h * g.width + (g.kernel_w - 1) * g.dilation_w + kGathered - 1;
            readable = pixels >= parts.first && pixels + (parts.count - 1) * parts.from_stride + reach <= parts.last;
        }

        const uint64_t* pixels;  // under the first tap, in the first part
        int64_t y0, x0;
        bool readable;               // all that any tap could read
        Words inside[kMostColumns];  // lanes that are no padding, by column of the kernel
    };

    // The patches of the first `count` pixels of a run, in some parts from `part` on.
    template <int kParts>
    void gather_pixels(const Run& run, const Parts& parts, int64_t part, int64_t count, uint64_t* rows) const {
        const int64_t words = layout_.array_words(), row_words = layout_.row_words();
        const uint64_t* const pixels = run.pixels + part * parts.from_stride;
        rows += part * parts.to_stride;
        Words even[kParts];
        for (int64_t word = 0; word < words; ++word) {
            Words sum[kParts] = {};
            const Move* const end = moves() + word_moves()[word + 1];
            for (const Move* move = moves() + word_moves()[word]; move < end; ++move) {
                if (static_cast<uint64_t>(run.y0 + move->y) >= static_cast<uint64_t>(g_.height)) continue;
                const uint64_t* from = pixels + tap_pixels()[move->tap];
                const Words inside = run.inside[move->kx], shift = move->shift;
                for (int p = 0; p < kParts; ++p, from += parts.from_stride) {
                    // Lanes outside the row read other pixels, or nothing, and count as padding.
                    const Words value =
                        (run.readable ? load_words(from) : load_within(from, parts.first, parts.last)) & inside;
                    sum[p] |= move->down ? value >> shift : value << shift;
                }
            }
            for (int p = 0; p < kParts; ++p) {
                uint64_t* const to = rows + p * parts.to_stride + word;
                if (word & 1)
                    store_pairs(even[p], sum[p], count, to - 1, row_words);
                else if (word + 1 == words)
                    store_words(sum[p], count, to, row_words);
                even[p] = sum[p];
            }
        }
    }

    static void store_pairs(const Words& even, const Words& odd, int64_t count, uint64_t* rows, int64_t row_words) {
        alignas(64) uint64_t lanes[2 * kGathered];
        store_vector(lanes, in_turn<0>(even, odd)), store_vector(lanes + kGathered, in_turn<1>(even, odd));
        for (int64_t i = 0; i < count; ++i) memcpy(rows + i * row_words, lanes + 2 * i, 2 * sizeof(uint64_t));
    }

    static void store_words(const Words& sum, int64_t count, uint64_t* rows, int64_t row_words) {
        if (row_words == 1 && count == kGathered) return store_vector(rows, sum);
        alignas(64) uint64_t lanes[kGathered];
        store_vector(lanes, sum);
        for (int64_t i = 0; i < count; ++i) rows[i * row_words] = lanes[i];
    }

    static Words load_within(const uint64_t* from, const uint64_t* first, const uint64_t* last) {
        Words value = {};
        for (int64_t i = 0; i < kGathered; ++i)
            if (from + i >= first && from + i <= last) value[i] = from[i];
        return value;
    }

    // load(move, chunk) reads a vector of chunks from `chunk` on under the tap of a move. Lanes past the last array hold whatever.
    template <class Load>
    void gather_lanes(uint64_t* row, const Load& load) const {
        const int64_t words = layout_.array_words(), chunks = layout_.chunks();
        for (int64_t chunk = 0; chunk < chunks; chunk += kGathered) {
            uint64_t* out = row + chunk * words;
            const auto word_of = [&](int64_t word) {
                int64_t i = word_moves()[word];
                const int64_t end = word_moves()[word + 1];
                Words sum = load(i, chunk);
                sum = moves()[i].down ? sum >> moves()[i].shift : sum << moves()[i].shift;
                for (++i; i < end; ++i) sum |= load(i, chunk) << moves()[i].shift;
                return sum;
            };
            if (words == 1) {
                store_vector(out, word_of(0));
            } else if (words == 2) {
                const Words low = word_of(0), high = word_of(1);
                store_vector(out, in_turn<0>(low, high));
                store_vector(out + kGathered, in_turn<1>(low, high));
            } else {
                const int64_t lanes = chunks - chunk < kGathered ? chunks - chunk : kGathered;
                for (int64_t word = 0; word < words; ++word) {
                    const Words sum = word_of(word);
                    for (int64_t i = 0; i < lanes; ++i) out[i * words + word] = sum[i];
                }
            }
        }
    }

    static Words load_words(const uint64_t* from) { return *reinterpret_cast<const WordsInMemory*>(from); }
    static void store_vector(uint64_t* to, Words value) { *reinterpret_cast<WordsInMemory*>(to) = value; }

    // Not past the end of the plane; the pixel of zeros is long enough.
    Words load_words(const uint64_t* from, const uint64_t* last) const {
        const uint64_t* zeros = reinterpret_cast<const uint64_t*>(zeros_.data);
        if (from + kGathered - 1 <= last || (from >= zeros && from < zeros + layout_.pixel_words()))
            return load_words(from);
        Words value = {};
        for (int64_t i = 0; from + i <= last; ++i) value[i] = from[i];
        return value;
    }

    const ConvGeometry& g_;
    const ArrayLayout& layout_;
    Scratch zeros_, tap_pixels_, moves_, word_moves_;
};

}  // namespace
}  // namespace bnnkit
