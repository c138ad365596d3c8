// adc on int8 tiles: an array of 128 rows is two tile products deep; its 32 x 32 partial sums leave the tiles through a small
// buffer that stays in the nearest cache, are converted 64 at a time and added to the block's level sums. The processor
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

// How one method turns partial sums into a contribution and keeps the sums of those, 64 values at a time: four vectors
// of neighbouring values. Narrow sums keep the order that the pack instructions give; `widen` undoes it.
template <Method kMethod>
struct Sums;

inline __m512i low_bytes(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi16(0xFF)); }

// 16-bit sums of 64 values, unsigned.
inline void widen16(__m512i low, __m512i high, __m512i* out) {
    const __m512i zero = _mm512_setzero_si512();
    out[0] = _mm512_unpacklo_epi16(low, zero), out[1] = _mm512_unpackhi_epi16(low, zero);
    out[2] = _mm512_unpacklo_epi16(high, zero), out[3] = _mm512_unpackhi_epi16(high, zero);
}

template <>
struct Sums<Method::single8> {
    static constexpr int kVectors = 1;
    __m512i threshold, one = _mm512_set1_epi8(1);

    explicit Sums(const SumConverter& c) : threshold(_mm512_set1_epi8(static_cast<char>(c.thresholds()[0]))) {}
    void add(const __m512i* ps, __m512i* sums) const {
        const __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(ps[0], ps[1]), _mm512_packs_epi32(ps[2], ps[3]));
        *sums = _mm512_mask_add_epi8(*sums, _mm512_cmpge_epi8_mask(bytes, threshold), *sums, one);
    }
    static void widen(const __m512i* sums, __m512i* out) {
        const __m512i zero = _mm512_setzero_si512();
        widen16(_mm512_unpacklo_epi8(*sums, zero), _mm512_unpackhi_epi8(*sums, zero), out);
    }
};

template <>
struct Sums<Method::single16> {
    static constexpr int kVectors = 2;
    __m512i threshold, one = _mm512_set1_epi16(1);

    explicit Sums(const SumConverter& c) : threshold(_mm512_set1_epi16(static_cast<short>(c.thresholds()[0]))) {}
    void add(const __m512i* ps, __m512i* sums) const {
        for (int i = 0; i < 2; ++i) {
            const __m512i words = _mm512_packs_epi32(ps[2 * i], ps[2 * i + 1]);
            sums[i] = _mm512_mask_add_epi16(sums[i], _mm512_cmpge_epi16_mask(words, threshold), sums[i], one);
        }
    }
    static void widen(const __m512i* sums, __m512i* out) { widen16(sums[0], sums[1], out); }
};

template <>
struct Sums<Method::round16> {
    static constexpr int kVectors = 2;
    __m512i shift, factor;

    explicit Sums(const SumConverter& c)
        : shift(_mm512_set1_epi16(c.shift16())), factor(_mm512_set1_epi16(c.factor16())) {}
    void add(const __m512i* ps, __m512i* sums) const {
        for (int i = 0; i < 2; ++i) {
            const __m512i words = _mm512_add_epi16(_mm512_packs_epi32(ps[2 * i], ps[2 * i + 1]), shift);
            sums[i] = _mm512_add_epi16(sums[i], _mm512_mulhrs_epi16(words, factor));
        }
    }
    static void widen(const __m512i* sums, __m512i* out) { widen16(sums[0], sums[1], out); }
};

template <>
struct Sums<Method::lookup16> {
    static constexpr int kVectors = 4;  // even and odd bytes of the first table, then of the second
    int tables;
    __m512i quarters[2][4];

    explicit Sums(const SumConverter& c) : tables(c.lookup_tables()) {
        for (int t = 0; t < tables; ++t)
            for (int i = 0; i < 4; ++i) quarters[t][i] = _mm512_loadu_si512(c.lookup_table(t) + 64 * i);
    }
    void add(const __m512i* ps, __m512i* sums) const {
        const __m512i reach = _mm512_set1_epi16(SumConverter::kLookupReach);
        const __m512i index = _mm512_packus_epi16(_mm512_add_epi16(_mm512_packs_epi32(ps[0], ps[1]), reach),
                                                  _mm512_add_epi16(_mm512_packs_epi32(ps[2], ps[3]), reach));
        const __mmask64 above = _mm512_movepi8_mask(index);
        for (int t = 0; t < tables; ++t) {
            const __m512i(&table)[4] = quarters[t];
            const __m512i bytes = _mm512_mask_mov_epi8(_mm512_permutex2var_epi8(table[0], index, table[1]), above,
                                                       _mm512_permutex2var_epi8(table[2], index, table[3]));
            sums[2 * t] = _mm512_add_epi16(sums[2 * t], low_bytes(bytes));
            sums[2 * t + 1] = _mm512_add_epi16(sums[2 * t + 1], _mm512_srli_epi16(bytes, 8));
        }
    }
    void widen(const __m512i* sums, __m512i* out) const {
        for (int t = 0; t < tables; ++t) {
            // Bytes 2i and 2i + 1 of the index stand beside each other in one 128-bit lane, as values of one vector.
            const __m512i even = sums[2 * t], odd = sums[2 * t + 1];
            __m512i wide[4];
            widen16(_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd), wide);
            for (int i = 0; i < 4; ++i)
                out[i] = t == 0 ? wide[i] : _mm512_add_epi32(out[i], _mm512_slli_epi32(wide[i], 8));
        }
    }
};

template <>
struct Sums<Method::round32> {
    static constexpr int kVectors = 4;
    __m512 factor, shift;

    explicit Sums(const SumConverter& c) : factor(_mm512_set1_ps(c.factor())), shift(_mm512_set1_ps(c.shift())) {}
    void add(const __m512i* ps, __m512i* sums) const {
        for (int i = 0; i < 4; ++i) {
            const __m512 code = _mm512_fmadd_ps(_mm512_cvtepi32_ps(ps[i]), factor, shift);
            sums[i] = _mm512_add_epi32(sums[i], _mm512_castps_si512(code));
        }
    }
    static void widen(const __m512i* sums, __m512i* out) {
        for (int i = 0; i < 4; ++i) out[i] = sums[i];
    }
};

template <>
struct Sums<Method::compare32> {
    static constexpr int kVectors = 4;
    const SumConverter& converter;

    explicit Sums(const SumConverter& c) : converter(c) {}
    void add(const __m512i* ps, __m512i* sums) const {
        __m512i sum[4] = {sums[0], sums[1], sums[2], sums[3]};
        for (int t = 0; t < converter.threshold_count(); ++t) {
            const __m512i threshold = _mm512_set1_epi32(converter.thresholds()[t]);
            const __m512i rise = _mm512_set1_epi32(converter.rises()[t]);
            for (int i = 0; i < 4; ++i)
                sum[i] = _mm512_mask_add_epi32(sum[i], _mm512_cmpge_epi32_mask(ps[i], threshold), sum[i], rise);
        }
        for (int i = 0; i < 4; ++i) sums[i] = sum[i];
    }
    static void widen(const __m512i* sums, __m512i* out) {
        for (int i = 0; i < 4; ++i) out[i] = sums[i];
    }
};

constexpr int64_t kSide = 2 * kTile;                  // rows and columns of one buffer of partial sums
constexpr int64_t kQuads = kSide * kSide / (4 * 16);  // steps of 64 values in it

inline __m512i* vectors(int32_t* p) { return reinterpret_cast<__m512i*>(p); }

class TileAdc {
public:
    static constexpr int64_t kRows = 128;
    static constexpr int64_t kColumns = TilePanels::kColumns;

    TileAdc(const BinaryConv& conv, const BorderClasses& borders, const TilePanels& panels,
            const SumConverter& converter)
        : conv_(conv),
          borders_(borders),
          panels_(panels),
          converter_(converter),
          bands_{conv.layout.row_words(), conv.layout.array_words()} {}

    int64_t scratch_bytes() const { return bands_.bytes(); }
    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        bands_.expand_all(conv_, borders_, rows, scratch);
    }

    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        const unsigned char* columns = panels_.panel(group, panel);
        switch (converter_.method()) {
            case Method::single8: return sums<Method::single8>(rows, scratch, columns, out);
            case Method::single16: return sums<Method::single16>(rows, scratch, columns, out);
            case Method::round16: return sums<Method::round16>(rows, scratch, columns, out);
            case Method::lookup16: return sums<Method::lookup16>(rows, scratch, columns, out);
            case Method::round32: return sums<Method::round32>(rows, scratch, columns, out);
            case Method::compare32: return sums<Method::compare32>(rows, scratch, columns, out);
        }
    }

private:
    template <Method kMethod>
    void sums(const RowBlock& rows, const unsigned char* scratch, const unsigned char* columns, int32_t* out) const {
        using Level = Sums<kMethod>;
        constexpr int64_t kBandVectors = kQuads * Level::kVectors;
        const TilesConfigured tiles;
        const Level level(converter_);
        const int64_t words = bands_.run_words, arrays = conv_.layout.arrays(), used = ceil_div(rows.count, kSide);
        const __m512i gain = _mm512_set1_epi32(static_cast<int>(converter_.gain()));
        const __m512i correction = _mm512_set1_epi32(static_cast<int>(converter_.correction()));
        alignas(64) int32_t partial[2][kSide * kSide];
        __m512i sums[kRows / kSide * kBandVectors];
        int buffer = 0;
        for (int64_t first = 0; first < arrays; first += SumConverter::kNarrowArrays) {
            memset(sums, 0, static_cast<size_t>(used * kBandVectors) * sizeof(__m512i));
            const int64_t last =
                arrays - first < SumConverter::kNarrowArrays ? arrays : first + SumConverter::kNarrowArrays;
            for (int64_t array = first; array < last; ++array, columns += words * 2 * kTileBytes) {
                for (int64_t band = 0; band < used; ++band, buffer ^= 1) {
                    clear_tiles();
                    multiply_tiles(scratch + bands_.band(array, band), kBandWordBytes, columns, words);
                    store_tiles(partial[buffer], kSide);
                    for (int64_t quad = 0; quad < kQuads; ++quad)
                        level.add(vectors(partial[buffer]) + 4 * quad,
                                  sums + band * kBandVectors + quad * Level::kVectors);
                }
            }
            for (int64_t quad = 0; quad < used * kQuads; ++quad) {
                __m512i wide[4], *to = vectors(out) + 4 * quad;
                level.widen(sums + quad * Level::kVectors, wide);
                for (int i = 0; i < 4; ++i)
                    to[i] = _mm512_add_epi32(_mm512_mullo_epi32(wide[i], gain), first == 0 ? correction : to[i]);
            }
        }
    }

    const BinaryConv& conv_;
    const BorderClasses& borders_;
    const TilePanels& panels_;
    const SumConverter& converter_;
    RowBands<kRows> bands_;
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
