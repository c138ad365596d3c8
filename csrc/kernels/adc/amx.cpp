// adc on int8 tiles: an array of 128 rows is two tile products deep; its 32 x 32 partial sums leave the tiles through a small
// buffer that stays in the nearest cache, are converted 16 at a time and added to the block's level sums. The processor
// overlaps the conversion of one buffer with the tile products of the next.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "sum_converter.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512vbmi,avx2,fma,amx-tile,amx-int8")

#include "../../core/lanes_avx512.h"

#include "../../core/amx_tiles.h"
#include "write.h"

namespace bnnkit {
namespace {

using Method = SumConverter::Method;

constexpr int64_t kSide = 2 * kTile;  // rows and columns of one buffer of partial sums

inline __m512i* vectors(int32_t* p) { return reinterpret_cast<__m512i*>(p); }

// Adds the levels of a buffer of partial sums to `sums`, both int32 [kSide][kSide].
template <Method kMethod>
inline void convert(const SumConverter& converter, const int32_t* partial, int32_t* sums) {
    constexpr int64_t kVectors = kSide * kSide / 16;
    const __m512i* ps = reinterpret_cast<const __m512i*>(partial);
    __m512i* sum = vectors(sums);
    if constexpr (kMethod == Method::single) {
        const __m512i threshold = _mm512_set1_epi32(converter.thresholds()[0]), one = _mm512_set1_epi32(1);
        for (int64_t i = 0; i < kVectors; ++i)
            sum[i] = _mm512_mask_add_epi32(sum[i], _mm512_cmpge_epi32_mask(ps[i], threshold), sum[i], one);
    } else if constexpr (kMethod == Method::round) {
        const __m512 factor = _mm512_set1_ps(converter.factor()), shift = _mm512_set1_ps(converter.shift());
        for (int64_t i = 0; i < kVectors; ++i) {
            const __m512 code = _mm512_fmadd_ps(_mm512_cvtepi32_ps(ps[i]), factor, shift);
            sum[i] = _mm512_add_epi32(sum[i], _mm512_castps_si512(code));
        }
    } else if constexpr (kMethod == Method::lookup) {
        const __m512i reach = _mm512_set1_epi16(128), levels = _mm512_loadu_si512(converter.levels());
        const uint8_t* table = converter.codes();
        const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
        const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
        for (int64_t i = 0; i < kVectors; i += 4) {
            // Four vectors become the four bytes of each 32-bit lane, in their own lane order.
            const __m512i low = _mm512_packs_epi32(ps[i], ps[i + 1]), high = _mm512_packs_epi32(ps[i + 2], ps[i + 3]);
            const __m512i index = _mm512_packus_epi16(_mm512_add_epi16(low, reach), _mm512_add_epi16(high, reach));
            const __m512i below = _mm512_permutex2var_epi8(t0, index, t1),
                          above = _mm512_permutex2var_epi8(t2, index, t3);
            const __m512i codes = _mm512_mask_mov_epi8(below, _mm512_movepi8_mask(index), above);
            // Byte 4q + b of a 128-bit lane holds element b of that lane of vector q: spread each vector's bytes out again.
            const __m512i spread = _mm512_set_epi8(-1, -1, -1, 3, -1, -1, -1, 2, -1, -1, -1, 1, -1, -1, -1, 0,  //
                                                   -1, -1, -1, 3, -1, -1, -1, 2, -1, -1, -1, 1, -1, -1, -1, 0,  //
                                                   -1, -1, -1, 3, -1, -1, -1, 2, -1, -1, -1, 1, -1, -1, -1, 0,  //
                                                   -1, -1, -1, 3, -1, -1, -1, 2, -1, -1, -1, 1, -1, -1, -1, 0);
            for (int q = 0; q < 4; ++q) {
                const __m512i step = _mm512_set1_epi32(0x04040404 * q & 0x0F0F0F0F);
                const __m512i code = _mm512_shuffle_epi8(codes, _mm512_add_epi8(spread, step));
                sum[i + q] = _mm512_add_epi32(sum[i + q], _mm512_permutexvar_epi32(code, levels));
            }
        }
    } else {
        for (int t = 0; t < converter.threshold_count(); ++t) {
            const __m512i threshold = _mm512_set1_epi32(converter.thresholds()[t]);
            const __m512i rise = _mm512_set1_epi32(converter.rises()[t]);
            for (int64_t i = 0; i < kVectors; ++i)
                sum[i] = _mm512_mask_add_epi32(sum[i], _mm512_cmpge_epi32_mask(ps[i], threshold), sum[i], rise);
        }
    }
}

class TileAdc {
public:
    static constexpr int64_t kRows = 128;
    static constexpr int64_t kColumns = TilePanels::kColumns;

    TileAdc(const BinaryConv& conv, const BorderClasses& borders, const TilePanels& panels,
            const SumConverter& converter)
        : conv_(conv), borders_(borders), panels_(panels), converter_(converter) {}

    int64_t scratch_bytes() const { return conv_.layout.row_words() * kRows * 64; }
    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        expand_rows<kRows>(conv_, borders_, rows, scratch);
    }

    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        switch (converter_.method()) {
            case Method::single: return sums<Method::single>(rows, scratch, group, panel, out);
            case Method::round: return sums<Method::round>(rows, scratch, group, panel, out);
            case Method::lookup: return sums<Method::lookup>(rows, scratch, group, panel, out);
            case Method::compare: return sums<Method::compare>(rows, scratch, group, panel, out);
        }
    }

private:
    template <Method kMethod>
    void sums(const RowBlock& rows, const unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        const TilesConfigured tiles;
        const int64_t words = conv_.layout.array_words(), arrays = conv_.layout.arrays(),
                      row_words = conv_.layout.row_words();
        const unsigned char* columns = panels_.panel(group, panel);
        const int64_t used = ceil_div(rows.count, kSide) * kSide;
        alignas(64) int32_t partial[2][kSide * kSide];
        memset(out, 0, static_cast<size_t>(used * kColumns) * sizeof(int32_t));
        int buffer = 0;
        for (int64_t array = 0; array < arrays;
             ++array, scratch += words * kBandWordBytes, columns += words * 2 * kTileBytes) {
            for (int64_t r = 0; r < used; r += kSide, buffer ^= 1) {
                clear_tiles();
                multiply_tiles(scratch + r / kBandRows * row_words * kBandWordBytes, kBandWordBytes, columns, words);
                store_tiles(partial[buffer], kSide);
                convert<kMethod>(converter_, partial[buffer], out + r * kColumns);
            }
        }
        const __m512i gain = _mm512_set1_epi32(static_cast<int>(converter_.gain()));
        const __m512i correction = _mm512_set1_epi32(static_cast<int>(converter_.correction()));
        for (__m512i *v = vectors(out), *end = v + used * kColumns / 16; v < end; ++v)
            *v = _mm512_add_epi32(_mm512_mullo_epi32(*v, gain), correction);
    }

    const BinaryConv& conv_;
    const BorderClasses& borders_;
    const TilePanels& panels_;
    const SumConverter& converter_;
};

static_assert(TileAdc::kColumns == kSide, "a block's sums are walked like a buffer's");

}  // namespace

void adc_amx(const AdcArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const TilePanels panels(args.conv);
    const SumConverter converter(args);
    const TileAdc engine(args.conv, borders, panels, converter);
    for_each_tile(args.conv, borders, engine, LevelWriter<TileAdc::kColumns>{args});
}

}  // namespace bnnkit

#pragma GCC pop_options
#endif
