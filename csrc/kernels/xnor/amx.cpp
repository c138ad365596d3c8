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

    TileXnor(const BinaryConv& conv, const BorderClasses& borders, const TilePanels& panels)
        : conv_(conv), words_(conv.layout.row_words()), borders_(borders), panels_(panels) {}

    int64_t scratch_bytes() const { return words_ * kRows * 64; }
    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        expand_rows<kRows>(conv_, borders_, rows, scratch);
    }

    // Words are taken in runs whose weights stay in the nearest cache while all rows of the block pass over them.
    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        constexpr int64_t kRun = 12;
        const TilesConfigured tiles;
        const unsigned char* columns = panels_.panel(group, panel);
        for (int64_t word = 0; word < words_; word += kRun) {
            const int64_t run = words_ - word < kRun ? words_ - word : kRun;
            for (int64_t r = 0; r < rows.count; r += 2 * kTile) {
                if (word == 0)
                    clear_tiles();
                else
                    load_tiles(out + r * kColumns, kColumns);
                multiply_tiles(scratch + (r / kBandRows * words_ + word) * kBandWordBytes, kBandWordBytes,
                               columns + word * 2 * kTileBytes, run);
                store_tiles(out + r * kColumns, kColumns);
            }
        }
    }

private:
    const BinaryConv& conv_;
    int64_t words_;
    const BorderClasses& borders_;
    const TilePanels& panels_;
};

}  // namespace

void xnor_amx(const XnorArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const TilePanels panels(args.conv);
    const TileXnor engine(args.conv, borders, panels);
    for_each_tile(args.conv, borders, engine,
                  [&](const int32_t* tile, int64_t pixel, int64_t pixels, int64_t output, int64_t outputs) {
                      write_sums<TileXnor::kColumns>(args, tile, pixel, pixels, output, outputs);
                  });
}

}  // namespace bnnkit

#pragma GCC pop_options
#endif
