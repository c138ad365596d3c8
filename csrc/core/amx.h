// Tile registers of AMX: eight tiles of up to 16 rows x 64 bytes.
#pragma once

#include <cstdint>

namespace bnnkit {

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};

    static constexpr TileConfig full() {
        TileConfig config;
        for (int tile = 0; tile < 8; ++tile) config.row_bytes[tile] = 64, config.rows[tile] = 16;
        return config;
    }
};

// A constant, because the compiler does not know that loading a configuration reads all of it, and drops stores to a local.
inline constexpr TileConfig kFullTiles = TileConfig::full();

}  // namespace bnnkit
