// Packed operands expanded to the int8 tiles of AMX. Included inside an AMX + AVX-512 region.
//
// A word of 64 bits per plane becomes 64 bytes holding the integer values (the weighted sum of the planes' signs), 0 where
// the bit is padding; activations as rows of a tile, weights as columns in groups of four consecutive values. int8 holds every
// operand of up to four planes (at most 15), and a product of tiles is exact in int32.
#pragma once

#include "amx.h"
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

// Configures the tiles for the life of one call on one thread. Constructing it again while configured is harmless.
struct TilesConfigured {
    TilesConfigured() { _tile_loadconfig(&kFullTiles); }
    ~TilesConfigured() { _tile_release(); }
};

// The compiler's tile loads do not say that they read memory; this keeps what was stored before them before them.
inline void finish_stores() { asm volatile("" ::: "memory"); }

// Adds the products of `words` words of 32 rows x 32 columns to tiles 0..3 (rows 0-15 | 16-31 x columns 0-15 | 16-31).
// `rows` points at the first word of 32 rows, each word `row_stride` bytes after the last; `columns` at the panel's word 0.
inline void multiply_tiles(const unsigned char* rows, int64_t row_stride, const unsigned char* columns, int64_t words) {
    finish_stores();
    for (int64_t word = 0; word < words; ++word, rows += row_stride, columns += 2 * kTileBytes) {
        _tile_loadd(4, rows, 64);
        _tile_loadd(6, columns, 64);
        _tile_loadd(7, columns + kTileBytes, 64);
        _tile_loadd(5, rows + kTileBytes, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
}

inline void clear_tiles() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

// Tiles 0..3 to or from int32 [32][stride].
inline void store_tiles(int32_t* out, int64_t stride) {
    const int64_t bytes = stride * static_cast<int64_t>(sizeof(int32_t));
    _tile_stored(0, out, bytes);
    _tile_stored(1, out + kTile, bytes);
    _tile_stored(2, out + kTile * stride, bytes);
    _tile_stored(3, out + kTile * stride + kTile, bytes);
}

inline void load_tiles(const int32_t* in, int64_t stride) {
    finish_stores();
    const int64_t bytes = stride * static_cast<int64_t>(sizeof(int32_t));
    _tile_loadd(0, in, bytes);
    _tile_loadd(1, in + kTile, bytes);
    _tile_loadd(2, in + kTile * stride, bytes);
    _tile_loadd(3, in + kTile * stride + kTile, bytes);
}

}  // namespace
}  // namespace bnnkit
