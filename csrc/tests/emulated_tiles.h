// The tile registers of AMX in plain C++, so that the tile kernels are tested on processors without them.
//
// Included on the compiler's command line, before everything else; takes the place of the compiler's intrinsics.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#include <bit>
#include <cstdint>
#include <cstring>

namespace emulated_tiles {

struct Tile {
    unsigned char rows[16][64];
};
inline thread_local Tile tiles[8];

inline void load(int tile, const void* from, int64_t stride) {
    for (int r = 0; r < 16; ++r) memcpy(tiles[tile].rows[r], static_cast<const char*>(from) + r * stride, 64);
}
inline void store(int tile, void* to, int64_t stride) {
    for (int r = 0; r < 16; ++r) memcpy(static_cast<char*>(to) + r * stride, tiles[tile].rows[r], 64);
}
inline void zero(int tile) { tiles[tile] = {}; }

template <class T>
T at(int tile, int row, int index) {
    T value;
    memcpy(&value, tiles[tile].rows[row] + index * static_cast<int>(sizeof(T)), sizeof(T));
    return value;
}

// c[m][n] += the products of `per` values at a[m][k] and b[k][n], for all k.
template <class Sum, class Value, class ToSum>
void multiply(int c, int a, int b, const ToSum& to_sum) {
    constexpr int kPer = 4 / sizeof(Value);
    for (int m = 0; m < 16; ++m)
        for (int n = 0; n < 16; ++n) {
            Sum sum = at<Sum>(c, m, n);
            for (int k = 0; k < 16 * kPer; ++k)
                sum += to_sum(at<Value>(a, m, k)) * to_sum(at<Value>(b, k / kPer, n * kPer + k % kPer));
            memcpy(tiles[c].rows[m] + n * 4, &sum, 4);
        }
}

inline void multiply_int8(int c, int a, int b) {
    multiply<int32_t, int8_t>(c, a, b, [](int8_t v) { return static_cast<int32_t>(v); });
}
inline void multiply_bf16(int c, int a, int b) {
    multiply<float, uint16_t>(c, a, b, [](uint16_t v) { return std::bit_cast<float>(static_cast<uint32_t>(v) << 16); });
}

}  // namespace emulated_tiles

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#undef _tile_dpbf16ps
#define _tile_loadd(tile, from, stride) emulated_tiles::load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated_tiles::store(tile, to, stride)
#define _tile_zero(tile) emulated_tiles::zero(tile)
#define _tile_dpbssd(c, a, b) emulated_tiles::multiply_int8(c, a, b)
#define _tile_dpbf16ps(c, a, b) emulated_tiles::multiply_bf16(c, a, b)
#define _tile_loadconfig(config) static_cast<void>(config)
#define _tile_release() static_cast<void>(0)
#endif
