// The loop around every packed convolution: blocks of output pixels x panels of output channels, spread over threads.
//
// Included inside an instruction-set region (internal linkage; see gather.h) after lanes_*.h, which says how many pixels
// are transposed at a time. An Engine provides
//   kRows, kColumns                                  the size of a block; fewer rows where the caller says so
//   scratch_bytes()                                  room for whatever it derives from a block of patches
//   prepare(rows, scratch)                           called once per block
//   tile(rows, scratch, group, panel, out)           fills int32 out[kRows][kColumns], or the other way round
#pragma once

#include "binary_conv.h"
#include "gather.h"

namespace bnnkit {
namespace {

struct RowBlock {
    const uint64_t* words;        // [x_planes][kRows][row_words]
    const int32_t* border_class;  // [kRows]
    int count;                    // rows in use; the rest of the block is unspecified
    int64_t first_pixel;          // of the block's first row, counted over the whole batch
};

// Everything about a convolution that does not change from call to call, and the loop itself.
template <class Engine>
class TileLoop {
public:
    // One thread's working memory, laid out in `bytes` bytes at a 64-byte boundary.
    struct Room {
        static int64_t words_bytes(const BinaryConv& conv) {
            return lines((conv.x_planes * Engine::kRows * conv.layout.row_words() + kGatherSlack) *
                         static_cast<int64_t>(sizeof(uint64_t)));
        }
        static constexpr int64_t kClassBytes = Engine::kRows * sizeof(int32_t);
        static constexpr int64_t kTileBytes = Engine::kRows * Engine::kColumns * sizeof(int32_t);
        static int64_t lines(int64_t bytes) { return ceil_div(bytes, 64) * 64; }
        static int64_t bytes(const BinaryConv& conv, const Engine& engine) {
            return words_bytes(conv) + kClassBytes + kTileBytes + lines(engine.scratch_bytes());
        }

        Room(const BinaryConv& conv, unsigned char* memory)
            : words(reinterpret_cast<uint64_t*>(memory)),
              classes(reinterpret_cast<int32_t*>(memory + words_bytes(conv))),
              tile(reinterpret_cast<int32_t*>(memory + words_bytes(conv) + kClassBytes)),
              prepared(memory + words_bytes(conv) + kClassBytes + kTileBytes) {}
        uint64_t* words;
        int32_t *classes, *tile;
        unsigned char* prepared;
    };

    TileLoop(const BinaryConv& conv, const BorderClasses& borders, int64_t rows = Engine::kRows)
        : borders_(borders), gatherer_(conv.geometry, conv.layout), rows_(rows) {}

    // An item is one block of pixels of one group, and one of the `splits` shares of its panels.
    static int64_t blocks(const BinaryConv& conv, int64_t rows = Engine::kRows) {
        return ceil_div(conv.geometry.batch * conv.geometry.out_pixels(), rows) * conv.geometry.groups;
    }

    // write(tile, first_pixel, pixels, first_output, outputs) stores one tile; pixels are counted over the whole batch.
    // `engine` is an Engine, or prepares and fills tiles in its stead.
    template <class Tiles, class Write>
    void run(const Tiles& engine, const BinaryConv& conv, int64_t begin, int64_t end, int64_t splits, const Room& room,
             const Write& write) const {
        const ConvGeometry& g = conv.geometry;
        const int64_t pixels = g.batch * g.out_pixels(), out_w = g.out_width(), out_h = g.out_height();
        const int64_t panels = ceil_div(g.group_outputs(), Engine::kColumns);
        int64_t gathered = -1;
        RowBlock block{room.words, room.classes, 0, 0};
        for (int64_t item = begin; item < end; ++item) {
            const int64_t split = item % splits, group = item / splits % g.groups, row_block = item / splits / g.groups;
            const int64_t first = row_block * rows_;
            if (item / splits != gathered) {
                gathered = item / splits;
                block.first_pixel = first;
                block.count = static_cast<int>(pixels - first < rows_ ? pixels - first : rows_);
                gather(conv, group, first, block.count, room.words);
                int64_t ox = first % out_w, oy = first / out_w % out_h;
                for (int r = 0; r < block.count; ++r) {
                    room.classes[r] = borders_.of_pixel(oy, ox);
                    if (++ox == out_w) ox = 0, oy = oy + 1 == out_h ? 0 : oy + 1;
                }
                engine.prepare(block, room.prepared);
            }
            for (int64_t panel = panels * split / splits; panel < panels * (split + 1) / splits; ++panel) {
                engine.tile(block, room.prepared, group, panel, room.tile);
                const int64_t left = g.group_outputs() - panel * Engine::kColumns;
                write(room.tile, first, block.count, group * g.group_outputs() + panel * Engine::kColumns,
                      left < Engine::kColumns ? left : Engine::kColumns);
            }
        }
    }

private:
    // Plane p of the block goes to rows + p * kRows * row_words.
    void gather(const BinaryConv& conv, int64_t group, int64_t first, int64_t count, uint64_t* rows) const {
        const int64_t block_words = Engine::kRows * conv.layout.row_words(), plane_words = conv.x_plane_words();
        const int64_t pixels = conv.geometry.batch * conv.geometry.height * conv.geometry.width;
        const uint64_t* const end = conv.x + conv.x_planes * plane_words - 1;
        if (conv.x_pixel_words() == 1 && gathers_pixels(conv.geometry, conv.layout))
            return gatherer_.gather_parts({conv.x, end, conv.x_planes, plane_words, block_words}, first, count, rows);
        for (int p = 0; p < conv.x_planes; ++p, rows += block_words) {
            const uint64_t* const plane = conv.x + p * plane_words;
            if (conv.x_by_chunk)
                gatherer_.gather_parts({plane, end, conv.layout.chunks(), pixels, conv.layout.array_words()}, first,
                                       count, rows);
            else
                gatherer_.gather(plane + group * conv.layout.pixel_words(), conv.x_pixel_words(),
                                 plane + plane_words - 1, first, count, rows);
        }
    }

    const BorderClasses& borders_;
    Gatherer gatherer_;
    int64_t rows_;
};

// One call of a convolution, over all its threads.
template <class Engine, class Write>
inline void for_each_tile(const BinaryConv& conv, const BorderClasses& borders, const Engine& engine,
                          const Write& write, int64_t rows = Engine::kRows) {
    const int64_t blocks = TileLoop<Engine>::blocks(conv, rows);
    if (blocks == 0) return;  // an empty batch
    const TileLoop<Engine> loop(conv, borders, rows);
    const int64_t panels = ceil_div(conv.geometry.group_outputs(), Engine::kColumns);
    // Few pixels (a batch of one, a small matrix): let threads share the panels of one block as well.
    const int64_t wanted = 4 * conv.threads.count;
    const int64_t splits = blocks >= wanted ? 1 : panels < ceil_div(wanted, blocks) ? panels : ceil_div(wanted, blocks);
    parallel_for(conv.threads, blocks * splits, [&](int64_t begin, int64_t end) {
        const Scratch memory(TileLoop<Engine>::Room::bytes(conv, engine));
        const typename TileLoop<Engine>::Room room(conv, memory.data);
        loop.run(engine, conv, begin, end, splits, room, write);
        finish_streams();  // of `write`
    });
}

}  // namespace
}  // namespace bnnkit
