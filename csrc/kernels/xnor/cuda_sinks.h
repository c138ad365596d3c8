// Where the sums of a tile go: memory, as floats or integers, or bits.
#pragma once

#include "../../core/cuda/border_kinds.h"
#include "../../core/cuda/tile_product.h"

namespace bnnkit {

// What sums need besides counts of common ones.
struct SumTerms {
    ConvGeometry g;
    BorderKinds kinds;
    const int32_t* rows;     // 2 popc(a) - valid: [groups][pixels]
    const int32_t* columns;  // 2 popc(b) - 2 popc(b on padded taps): [kinds][out_channels]
};

template <class Shape>
class Sums {
public:
    __device__ Sums(const SumTerms& terms, const TilePlace<Shape>& place, const typename Shape::Counts& counts)
        : counts_(counts) {
        for_each_row<Shape>([&](int r, int half) {
            const int row = place.row(r, 2 * half);
            row_[r][half] = row < place.rows ? terms.rows[int64_t{place.group} * place.rows + row] : 0;
            column_[r][half] = terms.columns + terms.kinds.of(row % terms.g.out_pixels()) * terms.g.out_channels;
        });
    }

    // Of a value inside the matrix.
    __device__ int32_t of(int r, int c, int i, int output) const {
        return 4 * counts_[r][c][i] - row_[r][i / 2] - column_[r][i / 2][output];
    }

private:
    const typename Shape::Counts& counts_;
    int32_t row_[Shape::kRowTiles][2];
    const int32_t* column_[Shape::kRowTiles][2];
};

// Arrays start from 0 and nothing happens before the last one.
template <class Shape>
struct WholeSums {
    __device__ void origin(int, bool, typename Shape::Origin&) const {}
    __device__ void take(int, const typename Shape::Counts&) const {}
};

// Floats or 32-bit integers: one kernel for both, because compiling it takes long and choosing takes nothing.
template <class Shape>
class WordSink : public WholeSums<Shape> {
public:
    struct Parameters {
        SumTerms terms;
        const float* bias;  // of floats, or none
        float* floats;
        int32_t* integers;  // one of the two
    };

    __device__ WordSink(const Parameters& p, const TilePlace<Shape>& place) : p_(p), place_(place) {}

    __device__ void finish(const typename Shape::Counts& counts) const {
        const Sums<Shape> sums(p_.terms, place_, counts);
        for_each_result<Shape>(place_, p_.terms.g.out_pixels(), p_.terms.g.out_channels,
                               [&](int r, int c, int i, int64_t at, int output) {
                                   const int32_t sum = sums.of(r, c, i, output);
                                   if (p_.integers)
                                       p_.integers[at] = sum;
                                   else
                                       p_.floats[at] = static_cast<float>(sum) + (p_.bias ? p_.bias[output] : 0.0f);
                               });
    }

private:
    const Parameters& p_;
    TilePlace<Shape> place_;
};

template <class Shape>
class ShortSink : public WholeSums<Shape> {
public:
    struct Parameters {
        SumTerms terms;
        int16_t* y;
    };

    __device__ ShortSink(const Parameters& p, const TilePlace<Shape>& place) : p_(p), place_(place) {}

    __device__ void finish(const typename Shape::Counts& counts) const {
        const Sums<Shape> sums(p_.terms, place_, counts);
        for_each_result<Shape>(place_, p_.terms.g.out_pixels(), p_.terms.g.out_channels,
                               [&](int r, int c, int i, int64_t at, int output) {
                                   p_.y[at] = static_cast<int16_t>(sums.of(r, c, i, output));
                               });
    }

private:
    const Parameters& p_;
    TilePlace<Shape> place_;
};

// The four lanes of a row hold two neighbouring columns each, so that together they make a byte of bits per column tile.
template <class Shape>
class BitSink : public WholeSums<Shape> {
public:
    struct Parameters {
        SumTerms terms;
        const int32_t *thresholds, *flip;
        unsigned char* y;
        int64_t row_bytes;
    };

    __device__ BitSink(const Parameters& p, const TilePlace<Shape>& place) : p_(p), place_(place) {}

    __device__ void finish(const typename Shape::Counts& counts) const {
        const Sums<Shape> sums(p_.terms, place_, counts);
        const int lane = static_cast<int>(threadIdx.x) % 4;
        for_each_row<Shape>([&](int r, int half) {
            unsigned mine = 0;
#pragma unroll
            for (int c = 0; c < Shape::kColumnTiles; ++c) {
                unsigned byte = 0;
#pragma unroll
                for (int j = 0; j < 2; ++j) byte |= bit(sums, r, c, 2 * half + j) << (2 * lane + j);
                byte |= __shfl_xor_sync(0xFFFFFFFFu, byte, 1);
                byte |= __shfl_xor_sync(0xFFFFFFFFu, byte, 2);
                // Each lane keeps one tile of four, and stores it beside the others'.
                if (c % 4 == lane) mine = byte;
                if (c % 4 == 3 || c == Shape::kColumnTiles - 1) store(r, half, c / 4 * 4 + lane, mine);
            }
        });
    }

private:
    __device__ unsigned bit(const Sums<Shape>& sums, int r, int c, int i) const {
        const int row = place_.row(r, i), column = place_.column(c, i);
        if (!place_.inside(row, column)) return 0;
        const int output = place_.output(column);
        const int32_t sum = sums.of(r, c, i, output), flip = p_.flip[output];
        return (sum ^ flip) - flip >= p_.thresholds[output];
    }
    __device__ void store(int r, int half, int c, unsigned byte) const {
        const int row = place_.row(r, 2 * half), column = place_.first_column / 8 * 8 + 8 * c;
        if (c < Shape::kColumnTiles && place_.inside(row, column))
            p_.y[row * p_.row_bytes + place_.output(column) / 8] = static_cast<unsigned char>(byte);
    }

    const Parameters& p_;
    TilePlace<Shape> place_;
};

}  // namespace bnnkit
