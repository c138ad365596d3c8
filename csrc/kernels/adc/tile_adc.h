// adc by products of bytes, shared by the instruction sets that have them. Included inside an AVX-512 region with VBMI.
//
// An array of 128 rows is two words deep; its 32 x 32 partial sums pass through a small buffer that stays in the nearest cache,
// are converted 64 at a time and added to the block's level sums. The processor overlaps the conversion of one buffer with the
// products of the next.
#pragma once

#include "../../core/byte_tiles.h"
#include "level_sums.h"
#include "write.h"

namespace bnnkit {
namespace {

constexpr int64_t kSide = 2 * kTile;                  // rows and columns of one buffer of partial sums
constexpr int64_t kQuads = kSide * kSide / (4 * 16);  // steps of 64 values in it

inline __m512i* vectors(int32_t* p) { return reinterpret_cast<__m512i*>(p); }

// Partials provides, for a panel's columns and 32 rows of an array expanded to bytes,
//   prepare(rows, bytes)                                             once for all expanded rows of a block
//   multiply(rows, columns, words, group, panel, array, partial)     partial int32 [32][32]
template <class Partials>
class TileAdc {
public:
    static constexpr int64_t kRows = 128;
    static constexpr int64_t kColumns = TilePanels::kColumns;
    static_assert(kColumns == kSide, "a block's sums are walked like a buffer's");

    TileAdc(const BinaryConv& conv, const BorderClasses& borders, const TilePanels& panels,
            const SumConverter& converter, const Partials& partials)
        : conv_(conv),
          borders_(borders),
          panels_(panels),
          converter_(converter),
          partials_(partials),
          bands_{conv.layout.row_words(), conv.layout.array_words()} {}

    int64_t scratch_bytes() const { return bands_.bytes(); }
    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        bands_.expand_all(conv_, borders_, rows, scratch);
        partials_.prepare(scratch, bands_.bytes());
    }

    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        switch (converter_.method()) {
            case Method::single8: return sums<Method::single8>(rows, scratch, group, panel, out);
            case Method::single16: return sums<Method::single16>(rows, scratch, group, panel, out);
            case Method::round16: return sums<Method::round16>(rows, scratch, group, panel, out);
            case Method::lookup16: return sums<Method::lookup16>(rows, scratch, group, panel, out);
            case Method::round32: return sums<Method::round32>(rows, scratch, group, panel, out);
            case Method::refine32: return sums<Method::refine32>(rows, scratch, group, panel, out);
            case Method::compare32: return sums<Method::compare32>(rows, scratch, group, panel, out);
        }
    }

private:
    template <Method kMethod>
    void sums(const RowBlock& rows, const unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        using Level = Sums<kMethod>;
        constexpr int64_t kBandVectors = kQuads * Level::kVectors;
        const typename Partials::Ready ready;
        const Level level(converter_);
        const unsigned char* columns = panels_.panel(group, panel);
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
                    partials_.multiply(scratch + bands_.band(array, band), columns, words, group, panel, array,
                                       partial[buffer]);
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
    const Partials& partials_;
    RowBands<kRows> bands_;
};

template <class Partials>
inline void adc_by_tiles(const AdcArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const TilePanels panels(args.conv);
    const SumConverter converter(args);
    const Partials partials(args.conv, panels);
    const TileAdc<Partials> engine(args.conv, borders, panels, converter, partials);
    for_each_tile(args.conv, borders, engine, LevelWriter<TilePanels::kColumns>{args});
}

}  // namespace
}  // namespace bnnkit
