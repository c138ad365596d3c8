// xnor on int8 tiles: bits are expanded to +-1 bytes block by block, and a tile product does 16384 multiply-accumulates.
// Three times the rate of counting bits on the processors that have it, in spite of the eightfold operands.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdlib>
#include <cstring>

#include "../../core/patches.h"
#include "xnor.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx2,fma,amx-tile,amx-int8")

#include "../../core/lanes_avx512.h"

#include "../../core/amx_tiles.h"
#include "write.h"

namespace bnnkit {
namespace {

class TileXnor {
public:
    static constexpr int64_t kRows = 128;
    static constexpr int64_t kColumns = TilePanels::kColumns;
    static constexpr int64_t kRun = 12;  // words whose weights stay in the nearest cache while all rows pass over them

    TileXnor(const BinaryConv& conv, const BorderClasses& borders, const TilePanels& panels)
        : conv_(conv), borders_(borders), panels_(panels), bands_{conv.layout.row_words(), kRun} {}

    int64_t scratch_bytes() const { return bands_.bytes(); }
    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        bands_.expand_all(conv_, borders_, rows, scratch);
    }

    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        const TilesConfigured tiles;
        const unsigned char* columns = panels_.panel(group, panel);
        for (int64_t word = 0; word < bands_.words; word += kRun) {
            const int64_t run = bands_.words - word < kRun ? bands_.words - word : kRun;
            for (int64_t r = 0; r < rows.count; r += kBandRows) {
                if (word == 0)
                    clear_tiles();
                else
                    load_tiles(out + r * kColumns, kColumns);
                multiply_tiles(scratch + bands_.band(word / kRun, r / kBandRows), kBandWordBytes,
                               columns + word * 2 * kTileBytes, run);
                store_tiles(out + r * kColumns, kColumns);
            }
        }
    }

private:
    const BinaryConv& conv_;
    const BorderClasses& borders_;
    const TilePanels& panels_;
    RowBands<kRows> bands_;
};

}  // namespace

void xnor_amx(const XnorArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const TilePanels panels(args.conv);
    const TileXnor engine(args.conv, borders, panels);
    for_each_tile(args.conv, borders, engine, SumWriter<TileXnor::kColumns>{args});
}

}  // namespace bnnkit

#pragma GCC pop_options
#endif
