// The patches of a block with their bits turned: row b holds bit b of every patch, so that one operation on a vector does something
// for as many patches as it has bits. Included inside an instruction-set region after lanes_*.h and blocks.h.
#pragma once

#include "bit_blocks.h"
#include "bit_lanes.h"

namespace bnnkit {
namespace {

class TurnedPatches {
public:
    static constexpr int64_t kPatches = 512;
    static constexpr int64_t kRowBytes = kPatches / 8, kRowWords = kPatches / kWordBits;
    static constexpr int64_t kVectorPatches = 8 * kLaneBytes, kVectorWords = kLaneBytes / 8;
    static constexpr int64_t kVectors = kPatches / kVectorPatches;

    // `words` of a patch; behind its last bit follows a row of zeros, with which lists of rows are filled up.
    explicit TurnedPatches(int64_t words) : words_(words) {}

    int64_t bytes() const { return (words_ * kWordBits + 1) * kRowBytes; }

    void turn(const RowBlock& block, unsigned char* rows) const {
        for (int64_t word = 0; word < words_; word += kVectorWords)
            for (int64_t first = 0; first < block.count; first += kOctets * 8)
                turn(block.words + first * words_ + word, words_ - word,
                     rows + word * kWordBits * kRowBytes + first / 8);
        memset(rows + words_ * kWordBits * kRowBytes, 0, kRowBytes);
    }

private:
    static constexpr int64_t kOctets = 16;  // of patches that are turned at a time

    // 128 patches x a vector of bits. Reads past the end of a patch, into the next or the slack of a gather.
    void turn(const uint64_t* words, int64_t left, unsigned char* rows) const {
        alignas(64) uint8_t bytes[8][kOctets][kLaneBytes];
        for (int64_t octet = 0; octet < kOctets; ++octet, words += 8 * words_) {
            BitVector patches[8];
#pragma GCC unroll 8
            for (int64_t i = 0; i < 8; ++i) patches[i] = bits_at(words + i * words_);
            transpose_bits(patches);
#pragma GCC unroll 8
            for (int64_t i = 0; i < 8; ++i) store_bits(bytes[i][octet], patches[i]);
        }
        const int64_t used = left < kVectorWords ? left * 8 : kLaneBytes;
        for (int64_t i = 0; i < 8; ++i)
            for (int64_t byte = 0; byte < used; byte += 16) {
                Bytes16 lines[kOctets];
#pragma GCC unroll 16
                for (int64_t octet = 0; octet < kOctets; ++octet) memcpy(&lines[octet], &bytes[i][octet][byte], 16);
                interleave_bytes(lines);
                for (int64_t b = 0; b < 16 && byte + b < used; ++b)
                    memcpy(rows + ((byte + b) * 8 + i) * kRowBytes, &lines[b], 16);
            }
    }

    int64_t words_;
};

// Lists the rows of a word's set bits; `base` is what the first row's would be listed as. Writes up to eight entries past the end,
// for a loop that ends with the last bit would be mispredicted once per word.
constexpr int64_t kListSlack = 8;
inline int32_t* list_rows(uint64_t bits, int64_t base, int32_t* to) {
    const int64_t count = __builtin_popcountll(bits);
    for (int64_t written = 0;; written += kListSlack) {
#pragma GCC unroll 8
        for (int64_t i = 0; i < kListSlack; ++i, bits = _blsr_u64(bits)) {
            to[written + i] = static_cast<int32_t>(base) +
                              static_cast<int32_t>(_tzcnt_u64(bits)) * static_cast<int32_t>(TurnedPatches::kRowWords);
            asm volatile("" ::: "memory");  // else compilers collect entries in vectors, which takes longer
        }
        if (written + kListSlack >= count) return to + count;
    }
}

// Fills a list that began at `first` up with `zeros` to a multiple of what add_bits takes at a time.
inline int32_t* fill_list(const int32_t* first, int32_t* to, int64_t zeros) {
    for (; (to - first) % kBitsAtATime != 0; ++to) *to = static_cast<int32_t>(zeros);
    return to;
}

// Stores finish(sum) of a run of neighbouring patches, of tiles [output][kPatches]; see write_nchw.
template <class Finish>
inline void write_turned(const ConvGeometry& g, const int32_t* tile, int64_t first_pixel, int64_t pixels,
                         int64_t first_output, int64_t outputs, const Output& output, const Finish& finish) {
    constexpr int64_t kStride = TurnedPatches::kPatches;
    const int64_t out_pixels = g.out_pixels();
    if (out_pixels == 1) {  // outputs are what lies contiguous
        float* const to = output.y + first_pixel * g.out_channels + first_output;
        int64_t r = 0;
        for (; outputs == 16 && r + 16 <= pixels; r += 16) {
            Ints16 sums[16];
            for (int64_t o = 0; o < 16; ++o) sums[o] = ints_at(tile + o * kStride + r);
            transpose(sums);
            for (int64_t i = 0; i < 16; ++i)
                output.store(to + (r + i) * g.out_channels, finish.neighbours(sums[i], first_output));
        }
        for (; r < pixels; ++r)
            for (int64_t o = 0; o < outputs; ++o)
                to[r * g.out_channels + o] = finish(tile[o * kStride + r], first_output + o);
        return;
    }
    for (int64_t r = 0, run; r < pixels; r += run) {
        const int64_t image = (first_pixel + r) / out_pixels, pixel = (first_pixel + r) % out_pixels;
        run = pixels - r < out_pixels - pixel ? pixels - r : out_pixels - pixel;
        for (int64_t o = 0; o < outputs; ++o) {
            const int32_t* const sums = tile + o * kStride + r;
            float* const to = output.y + (image * g.out_channels + first_output + o) * out_pixels + pixel;
            int64_t i = 0;
            for (; i + 16 <= run; i += 16) output.store(to + i, finish(ints_at(sums + i), first_output + o));
            for (; i < run; ++i) to[i] = finish(sums[i], first_output + o);
        }
    }
}

}  // namespace
}  // namespace bnnkit
