// The products of adc's backward pass on tiles.
//
// Partial sums are recomputed by int8 tiles. The float products run on bf16 tiles: activations and weights are integers up to
// 15, exact in bf16; g is split into two bf16 numbers whose sum keeps 16 bits of it, so a gradient is within 2^-16 of the
// float32 one for twice the work, at sixteen times the rate.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "adc.h"

#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512vbmi,avx2,bmi2,fma,amx-tile,amx-int8,amx-bf16")

#include "../../core/lanes_avx512.h"

#include "../../core/amx_tiles.h"

#include "add_to_avx512.h"
#include "backward_frame.h"

namespace bnnkit {
namespace {

constexpr int64_t kSide = 2 * kTile;  // 32: rows and columns of four tiles, and the depth of a bf16 product

// bf16 of the integer in each 16-bit lane, -16..15.
inline __m512i small_integers_to_bf16(__m512i integers) {
    alignas(64) static constexpr uint16_t kTable[32] = {0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0,
                                                        0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170,
                                                        0xC180, 0xC170, 0xC160, 0xC150, 0xC140, 0xC130, 0xC120, 0xC110,
                                                        0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80};
    return _mm512_permutexvar_epi16(integers, _mm512_load_si512(kTable));  // the index is taken modulo 32
}

class TileProducts {
public:
    static constexpr int64_t kRows = 128, kPatchRows = kSide;

    TileProducts(const AdcBackwardArgs& args, const BorderClasses& borders, const TilePanels& panels)
        : args_(args),
          conv_(args.conv),
          layout_(args.conv.layout),
          borders_(borders),
          panels_(panels),
          row_words_(layout_.row_words()),
          array_words_(layout_.array_words()),
          row_bits_(row_words_ * kWordBits),
          column_blocks_(ceil_div(conv_.geometry.group_outputs(), kSide)),
          weights_(conv_.geometry.groups * row_bits_ / kTile * column_blocks_ * kTileBytes) {
        parallel_for(conv_.threads, conv_.geometry.groups * column_blocks_, [&](int64_t begin, int64_t end) {
            for (int64_t item = begin; item < end; ++item) pair_weights(item / column_blocks_, item % column_blocks_);
        });
    }

    int64_t padded_outputs() const { return column_blocks_ * kSide; }
    int64_t gw_floats() const { return conv_.geometry.groups * row_bits_ * padded_outputs(); }
    int64_t tap_stride(int64_t) const { return layout_.channels_per_array; }
    int64_t gw_at(int64_t output, int64_t array, int64_t column) const {  // [group][bit][output]
        const int64_t outputs = conv_.geometry.group_outputs(), bit = array * array_words_ * kWordBits + column;
        return (output / outputs * row_bits_ + bit) * padded_outputs() + output % outputs;
    }

    struct Room {
        explicit Room(const TileProducts& p)
            : x(p.array_words_ * kRows * 64),
              x_columns(p.array_words_ * kWordBits * kRows * 2),
              g(2 * kRows * p.padded_outputs() * 2),
              g_pairs(2 * kRows * p.padded_outputs() * 2) {
            memset(g.data, 0, static_cast<size_t>(2 * kRows * p.padded_outputs() * 2));
            memset(g_pairs.data, 0, static_cast<size_t>(2 * kRows * p.padded_outputs() * 2));
        }
        Scratch x;          // int8 [word][row][64]
        Scratch x_columns;  // bf16 tiles [bit / 16][row / 32][16 bits][32 rows]
        Scratch g;          // bf16 [high, low][row][output]
        Scratch g_pairs;    // bf16 tiles [output / 16][row / 32][high, low][16 row pairs][16 outputs][2]
        TilesConfigured tiles;
    };

    void add_weight_gradient(Room& room, const GradientBlock& block, int64_t group, int64_t array, float* gw) const {
        const int64_t used = ceil_div(block.rows.count, kSide) * kSide;
        expand(room, block.rows, array, used);
        for (int64_t r = 0; r < used; r += kSide)
            for (int64_t column = 0; column < column_blocks_; ++column) weigh(room, block, group, array, r, column);
        transpose_activations(room, used);
        for (int64_t bit = 0; bit < array_words_ * kWordBits; bit += kSide) {
            const int64_t at = array * array_words_ * kWordBits + bit;
            float* to = gw + (group * row_bits_ + at) * padded_outputs();
            for (int64_t column = 0; column < column_blocks_; ++column)
                weight_tiles(room, bit, column, used, to + column * kSide);
        }
    }

    void patch_gradient(const Room& room, const GradientBlock&, int64_t group, int64_t array, int64_t first, int64_t,
                        float* patches) const {
        for (int64_t bit = 0; bit < array_words_ * kWordBits; bit += kSide) {
            const int64_t at = (group * row_bits_ + array * array_words_ * kWordBits + bit) / kTile;
            patch_tiles(room, weights_.data + at * column_blocks_ * kTileBytes, first, patches + bit);
        }
    }

private:
    // Weights as the right side of g W: bf16 tiles [bit / 16][output / 32][16 output pairs][16 bits][2].
    void pair_weights(int64_t group, int64_t column) {
        const int64_t outputs = conv_.geometry.group_outputs();
        for (int64_t word = 0; word < row_words_; ++word) {
            for (int64_t pair = 0; pair < kTile; ++pair) {
                __m512i rows[2];
                for (int64_t i = 0; i < 2; ++i) {
                    const int64_t output = column * kSide + 2 * pair + i;
                    rows[i] = output < outputs
                                  ? bnnkit::expand(conv_.w + (group * outputs + output) * row_words_ + word,
                                                   conv_.w_plane_words(), conv_.w_planes, conv_.w_thermometer,
                                                   borders_.mask(0)[word])
                                  : _mm512_setzero_si512();
                }
                for (int64_t q = 0; q < kWordBits / kTile; ++q) {
                    const __m256i first = _mm256_cvtepi8_epi16(quarter(rows[0], q));
                    const __m256i second = _mm256_cvtepi8_epi16(quarter(rows[1], q));
                    const __m512i both =
                        _mm512_or_si512(_mm512_and_si512(_mm512_cvtepi16_epi32(first), _mm512_set1_epi32(0xFFFF)),
                                        _mm512_slli_epi32(_mm512_cvtepi16_epi32(second), 16));
                    const int64_t tile =
                        ((group * row_bits_ / kTile + word * 4 + q) * column_blocks_ + column) * kTileBytes;
                    _mm512_store_si512(weights_.data + tile + pair * 64, small_integers_to_bf16(both));
                }
            }
        }
    }

    static __m128i quarter(__m512i bytes, int64_t index) {
        switch (index) {
            case 0: return _mm512_castsi512_si128(bytes);
            case 1: return _mm512_extracti32x4_epi32(bytes, 1);
            case 2: return _mm512_extracti32x4_epi32(bytes, 2);
            default: return _mm512_extracti32x4_epi32(bytes, 3);
        }
    }

    void expand(Room& room, const RowBlock& rows, int64_t array, int64_t used) const {
        for (int64_t r = 0; r < used; ++r) {
            for (int64_t word = 0; word < array_words_; ++word) {
                const int64_t at = array * array_words_ + word;
                const __m512i bytes =
                    r < rows.count
                        ? bnnkit::expand(rows.words + r * row_words_ + at, kRows * row_words_, conv_.x_planes,
                                         conv_.x_thermometer, borders_.mask(rows.border_class[r])[at])
                        : _mm512_setzero_si512();
                _mm512_store_si512(room.x.data + (word * kRows + r) * 64, bytes);
            }
        }
    }

    // g of 32 rows x 32 outputs, as rows and as pairs of rows.
    void weigh(Room& room, const GradientBlock& block, int64_t group, int64_t array, int64_t r, int64_t column) const {
        alignas(64) int32_t sums[kSide * kSide];
        if (args_.slopes) {
            clear_tiles();
            multiply_tiles(room.x.data + r * 64, kRows * 64,
                           panels_.panel(group, column) + array * array_words_ * 2 * kTileBytes, array_words_);
            store_tiles(sums, kSide);
        }
        const float* slopes = args_.slopes + args_.slope_bound;
        const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000)), half = _mm512_set1_epi32(0x8000);
        for (int64_t side = 0; side < 2; ++side) {
            const int64_t output = column * kSide + side * kTile;
            if (output >= conv_.geometry.group_outputs()) return;  // stays zero from the start
            unsigned char* pairs =
                room.g_pairs.data + ((output / kTile) * (kRows / kSide) + r / kSide) * 2 * kTileBytes;
            for (int64_t i = 0; i < kSide; i += 2) {
                __m512i high[2], low[2];
                for (int64_t k = 0; k < 2; ++k) {
                    const int64_t row = r + i + k;
                    __m512 g = _mm512_setzero_ps();
                    if (row < block.rows.count) {
                        g = _mm512_loadu_ps(block.gy + row * padded_outputs() + output);
                        if (args_.slopes) {
                            const __m512i at = _mm512_load_si512(sums + (i + k) * kSide + side * kTile);
                            g = _mm512_mul_ps(g, _mm512_i32gather_ps(at, slopes, 4));
                        }
                    }
                    high[k] = _mm512_and_si512(_mm512_castps_si512(g), upper);
                    low[k] =
                        _mm512_add_epi32(_mm512_castps_si512(_mm512_sub_ps(g, _mm512_castsi512_ps(high[k]))), half);
                    store_bf16(room, 0, row, output, high[k]);
                    store_bf16(room, 1, row, output, low[k]);
                }
                _mm512_store_si512(pairs + i / 2 * 64, pair(high, upper));
                _mm512_store_si512(pairs + kTileBytes + i / 2 * 64, pair(low, upper));
            }
        }
    }

    void store_bf16(Room& room, int64_t part, int64_t row, int64_t output, __m512i values) const {
        uint16_t* to = reinterpret_cast<uint16_t*>(room.g.data) + (part * kRows + row) * padded_outputs() + output;
        _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(values, 16)));
    }

    static __m512i pair(const __m512i (&rows)[2], __m512i upper) {
        return _mm512_or_si512(_mm512_srli_epi32(rows[0], 16), _mm512_and_si512(rows[1], upper));
    }

    // Activations with rows along the tile's depth: 16 rows x 64 bits at a time, transposed by dwords, then by bytes.
    void transpose_activations(Room& room, int64_t used) const {
        alignas(64) static constexpr struct ByteOrder {
            uint8_t at[64];
            constexpr ByteOrder() : at{} {
                for (int i = 0; i < 64; ++i) at[i] = static_cast<uint8_t>(i % 16 * 4 + i / 16);
            }
        } kByBit;
        const __m512i by_bit = _mm512_load_si512(kByBit.at);
        for (int64_t word = 0; word < array_words_; ++word) {
            for (int64_t r = 0; r < used; r += kTile) {
                __m512i rows[16];
                for (int64_t i = 0; i < kTile; ++i)
                    rows[i] = _mm512_load_si512(room.x.data + (word * kRows + r + i) * 64);
                transpose16(rows);
                for (int64_t q = 0; q < kTile; ++q) {
                    const __m512i bits = _mm512_permutexvar_epi8(by_bit, rows[q]);
                    for (int64_t b = 0; b < 4; ++b) {
                        const int64_t bit = word * kWordBits + 4 * q + b;
                        const __m512i values = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(quarter(bits, b)));
                        unsigned char* tile =
                            room.x_columns.data + (bit / kTile * (kRows / kSide) + r / kSide) * kTileBytes;
                        _mm256_store_si256(reinterpret_cast<__m256i*>(tile + bit % kTile * 64 + r % kSide * 2),
                                           _mm512_castsi512_si256(small_integers_to_bf16(values)));
                    }
                }
            }
        }
    }

    // Four products of tiles 4, 5 with 6, 7 into 0..3.
    static void multiply_bf16() {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }

    // patches[32 rows][32 bits] = g W.
    void patch_tiles(const Room& room, const unsigned char* weights, int64_t r, float* patches) const {
        const int64_t row_bytes = padded_outputs() * 2;
        clear_tiles();
        finish_stores();
        for (int64_t column = 0; column < column_blocks_; ++column) {
            _tile_loadd(6, weights + column * kTileBytes, 64);
            _tile_loadd(7, weights + (column_blocks_ + column) * kTileBytes, 64);
            for (int64_t part = 0; part < 2; ++part) {
                const unsigned char* g = room.g.data + (part * kRows + r) * row_bytes + column * kSide * 2;
                _tile_loadd(4, g, row_bytes);
                _tile_loadd(5, g + kTile * row_bytes, row_bytes);
                multiply_bf16();
            }
        }
        store_tiles(reinterpret_cast<int32_t*>(patches), array_words_ * kWordBits);
    }

    // gw[32 bits][32 outputs] += X^T g.
    void weight_tiles(const Room& room, int64_t bit, int64_t column, int64_t used, float* gw) const {
        constexpr int64_t kBlocks = kRows / kSide;
        load_tiles(reinterpret_cast<const int32_t*>(gw), padded_outputs());
        for (int64_t r = 0; r < used / kSide; ++r) {
            const unsigned char* x = room.x_columns.data + (bit / kTile * kBlocks + r) * kTileBytes;
            _tile_loadd(4, x, 64);
            _tile_loadd(5, x + kBlocks * kTileBytes, 64);
            for (int64_t part = 0; part < 2; ++part) {
                const unsigned char* g = room.g_pairs.data + ((2 * column * kBlocks + r) * 2 + part) * kTileBytes;
                _tile_loadd(6, g, 64);
                _tile_loadd(7, g + kBlocks * 2 * kTileBytes, 64);
                multiply_bf16();
            }
        }
        store_tiles(reinterpret_cast<int32_t*>(gw), padded_outputs());
    }

    const AdcBackwardArgs& args_;
    const BinaryConv& conv_;
    const ArrayLayout& layout_;
    const BorderClasses& borders_;
    const TilePanels& panels_;
    int64_t row_words_, array_words_, row_bits_, column_blocks_;
    Scratch weights_;
};

}  // namespace

void adc_backward_amx(const AdcBackwardArgs& args) { run_backward<TileProducts>(args, TilePanels(args.conv)); }

}  // namespace bnnkit

#pragma GCC pop_options
#endif
