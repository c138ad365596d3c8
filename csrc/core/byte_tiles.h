// Packed operands expanded to bytes, as products of int8 read them. Included inside an AVX-512 region.
//
// A word of 64 bits per plane becomes 64 bytes holding the integer values (the weighted sum of the planes' signs), 0 where
// the bit is padding; activations as rows of a tile, weights as columns in groups of four consecutive values. int8 holds every
// operand of up to four planes (at most 15), and a product is exact in int32.
#pragma once

#include "binary_conv.h"
#include "blocks.h"
#include "transpose_avx512.h"

namespace bnnkit {
namespace {

constexpr int64_t kTile = 16;         // rows, and columns of 4 bytes, of one tile
constexpr int64_t kTileBytes = 1024;  // 16 rows x 64 bytes

// 64 values of one row: the signs of the planes at `words`, weighted, and 0 outside `valid`.
inline __m512i expand(const uint64_t* words, int64_t plane_stride, int planes, bool thermometer, uint64_t valid) {
    const __m512i one = _mm512_set1_epi8(1), minus = _mm512_set1_epi8(-1);
    __m512i sum = _mm512_mask_blend_epi8(_cvtu64_mask64(words[0]), minus, one);
    for (int p = 1; p < planes; ++p) {
        const __m512i weight = _mm512_set1_epi8(static_cast<char>(thermometer ? 1 : 1 << p));
        const __mmask64 set = _cvtu64_mask64(words[p * plane_stride]);
        sum =
            _mm512_add_epi8(_mm512_mask_blend_epi8(set, _mm512_sub_epi8(_mm512_setzero_si512(), weight), weight), sum);
    }
    return _mm512_maskz_mov_epi8(_cvtu64_mask64(valid), sum);
}

// Rows of a block as bytes [run][row / 32][word of the run][32 rows][64], where a run is as many words as are multiplied
// before the next 32 rows have their turn: what the tiles read then lies in the order of reading, which keeps them fed
// from the second cache.
constexpr int64_t kBandRows = 2 * kTile;
constexpr int64_t kBandWordBytes = 2 * kTileBytes;

template <int64_t kRows>
struct RowBands {
    static constexpr int64_t kBands = kRows / kBandRows;
    int64_t words, run_words;

    int64_t run_bytes() const { return kBands * run_words * kBandWordBytes; }
    int64_t bytes() const { return ceil_div(words, run_words) * run_bytes(); }
    int64_t band(int64_t run, int64_t index) const { return run * run_bytes() + index * run_words * kBandWordBytes; }

    void expand_all(const BinaryConv& conv, const BorderClasses& borders, const RowBlock& rows,
                    unsigned char* out) const {
        for (int64_t first = 0; first < rows.count; first += kBandRows) {
            const int64_t used = rows.count - first < kBandRows ? rows.count - first : kBandRows;
            const uint64_t* valid[kBandRows];
            for (int64_t r = 0; r < used; ++r) valid[r] = borders.mask(rows.border_class[first + r]);
            for (int64_t word = 0; word < words; ++word) {
                unsigned char* to = out + band(word / run_words, first / kBandRows) + word % run_words * kBandWordBytes;
                const uint64_t* from = rows.words + first * words + word;
                for (int64_t r = 0; r < used; ++r)
                    _mm512_store_si512(to + r * 64, expand(from + r * words, kRows * words, conv.x_planes,
                                                           conv.x_thermometer, valid[r][word]));
                for (int64_t r = used; r < kBandRows; ++r) _mm512_store_si512(to + r * 64, _mm512_setzero_si512());
            }
        }
    }
};

// Weights as tiles [group][panel][word][2][16 quads of values][16 columns][4].
class TilePanels {
public:
    static constexpr int64_t kColumns = 2 * kTile;

    explicit TilePanels(const BinaryConv& conv)
        : words_(conv.layout.row_words()),
          panels_(ceil_div(conv.geometry.group_outputs(), kColumns)),
          bytes_(conv.geometry.groups * panels_ * words_ * 2 * kTileBytes) {
        const int64_t outputs = conv.geometry.group_outputs(), halves = conv.geometry.groups * panels_ * 2;
        parallel_for(conv.threads, halves, [&](int64_t begin, int64_t end) {
            for (int64_t half = begin; half < end; ++half) {
                const int64_t group = half / (panels_ * 2), first = half % (panels_ * 2) * kTile;
                for (int64_t word = 0; word < words_; ++word) {
                    __m512i columns[16];
                    for (int64_t c = 0; c < kTile; ++c)
                        columns[c] = first + c < outputs
                                         ? expand(conv.w + (group * outputs + first + c) * words_ + word,
                                                  conv.w_plane_words(), conv.w_planes, conv.w_thermometer, ~uint64_t{0})
                                         : _mm512_setzero_si512();
                    transpose16(columns);
                    unsigned char* tile = bytes_.data + ((half / 2 * words_ + word) * 2 + half % 2) * kTileBytes;
                    for (int64_t q = 0; q < kTile; ++q) _mm512_store_si512(tile + q * 64, columns[q]);
                }
            }
        });
    }

    const unsigned char* panel(int64_t group, int64_t index) const {
        return bytes_.data + (group * panels_ + index) * words_ * 2 * kTileBytes;
    }

private:
    int64_t words_, panels_;
    Scratch bytes_;
};

}  // namespace
}  // namespace bnnkit
