// The loop around every packed convolution: blocks of output pixels x panels of output channels, spread over threads.
//
// Included inside an instruction-set region (internal linkage; see gather.h) after lanes_*.h, which says how many pixels
// are transposed at a time. An Engine provides
//   kRows, kColumns                                  the size of a block
//   scratch_bytes()                                  room for whatever it derives from a block of patches
//   prepare(rows, scratch)                           called once per block
//   tile(rows, scratch, group, panel, out)           fills int32 out[kRows][kColumns]
#pragma once

#include "binary_conv.h"
#include "gather.h"

namespace bnnkit {
namespace {

struct RowBlock {
    const uint64_t* words;        // [x_planes][kRows][row_words]
    const int32_t* border_class;  // [kRows]
    int count;                    // rows in use; the rest of the block is unspecified
};

// write(tile, first_pixel, pixels, first_output, outputs) stores one tile; pixels are counted over the whole batch.
template <class Engine, class Write>
inline void for_each_tile(const BinaryConv& conv, const BorderClasses& borders, const Engine& engine,
                          const Write& write) {
    const ConvGeometry& g = conv.geometry;
    const int64_t pixels = g.batch * g.out_pixels(), out_w = g.out_width(), out_h = g.out_height();
    const int64_t row_words = conv.layout.row_words();
    if (pixels == 0) return;  // an empty batch
    const Gatherer gatherer(g, conv.layout);
    const int64_t row_blocks = ceil_div(pixels, Engine::kRows);
    const int64_t panels = ceil_div(g.group_outputs(), Engine::kColumns);
    // Few pixels (a batch of one, a small matrix): let threads share the panels of one block as well.
    const int64_t wanted = 4 * conv.threads.count, have = row_blocks * g.groups;
    const int64_t splits = have >= wanted ? 1 : panels < ceil_div(wanted, have) ? panels : ceil_div(wanted, have);

    parallel_for(conv.threads, row_blocks * g.groups * splits, [&](int64_t begin, int64_t end) {
        Scratch words((conv.x_planes * Engine::kRows * row_words + kGatherSlack) *
                      static_cast<int64_t>(sizeof(uint64_t)));
        Scratch classes(Engine::kRows * static_cast<int64_t>(sizeof(int32_t)));
        Scratch prepared(engine.scratch_bytes());
        Scratch tile(Engine::kRows * Engine::kColumns * static_cast<int64_t>(sizeof(int32_t)));
        uint64_t* rows = reinterpret_cast<uint64_t*>(words.data);
        int32_t* border_class = reinterpret_cast<int32_t*>(classes.data);
        int32_t* out = reinterpret_cast<int32_t*>(tile.data);
        int64_t gathered = -1;
        RowBlock block{rows, border_class, 0};
        for (int64_t item = begin; item < end; ++item) {
            const int64_t split = item % splits, group = item / splits % g.groups, row_block = item / splits / g.groups;
            const int64_t first = row_block * Engine::kRows;
            if (item / splits != gathered) {
                gathered = item / splits;
                block.count = static_cast<int>(pixels - first < Engine::kRows ? pixels - first : Engine::kRows);
                for (int p = 0; p < conv.x_planes; ++p) {
                    const uint64_t* plane = conv.x + p * conv.x_plane_words();
                    gatherer.gather(plane + group * conv.layout.pixel_words(), conv.x_pixel_words(),
                                    plane + conv.x_plane_words() - 1, first, block.count,
                                    rows + p * Engine::kRows * row_words);
                }
                int64_t ox = first % out_w, oy = first / out_w % out_h;
                for (int r = 0; r < block.count; ++r) {
                    border_class[r] = borders.of_pixel(oy, ox);
                    if (++ox == out_w) ox = 0, oy = oy + 1 == out_h ? 0 : oy + 1;
                }
                engine.prepare(block, prepared.data);
            }
            for (int64_t panel = panels * split / splits; panel < panels * (split + 1) / splits; ++panel) {
                engine.tile(block, prepared.data, group, panel, out);
                const int64_t left = g.group_outputs() - panel * Engine::kColumns;
                write(out, first, block.count, group * g.group_outputs() + panel * Engine::kColumns,
                      left < Engine::kColumns ? left : Engine::kColumns);
            }
        }
        finish_streams();  // of `write`
    });
}

}  // namespace
}  // namespace bnnkit
