// Products of byte tiles in the tile registers of AMX. Included inside an AMX + AVX-512 region.
#pragma once

#include "amx.h"
#include "byte_tiles.h"

namespace bnnkit {
namespace {

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
