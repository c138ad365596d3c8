// The main loop of the matrix kernels: counts of equal bits between rows of pieces (pieces.h), handed to a sink array by array.
//
// A block computes a tile of 16 * kRowTiles * kWarpRows rows by 8 * kColumnTiles * kWarpColumns columns; its warps share the
// tile like a grid. Operands pass through shared memory in stages that are copied while earlier ones are multiplied. Planes
// are weighted by Horner's rule: the count is doubled between pairs of planes of descending weight, in 32-bit integers.
//
// A sink lives in the registers of a thread and sees the counts of the thread's own rows and columns:
//   Sink(parameters, place)        made before anything else
//   origin(array, first, origin)   int[kRowTiles][4]: sets what the counts of this array start from, or leaves what it set for
//                                  the array before; `first` says that there was none
//   take(array, counts)            int[kRowTiles][kColumnTiles][4]: origin + counts
//   finish(counts)                 after the last array, with its counts
#pragma once

#include <limits>
#include <stdexcept>

#include "pieces.h"
#include "warp_matrix.h"

namespace bnnkit {

constexpr int kTileWarps = 8, kTileThreads = 32 * kTileWarps;
constexpr int kMostPairs = 16;

// A pair of planes; `doublings` happen before it is counted.
struct PlanePair {
    int8_t a, b, doublings;
};

struct TileOperands {
    const uint64_t* a = nullptr;      // [groups][rows][steps][a_planes] pieces
    const uint64_t* b = nullptr;      // [groups][columns][steps][b_planes] pieces
    int rows = 0, columns = 0;        // of one group
    int first_array = 0, arrays = 1;  // those that are multiplied
    int row_arrays = 1;
    int steps_per_array = 1;
    int a_planes = 1, b_planes = 1;
    int pairs = 1;
    PlanePair pair[kMostPairs] = {};
    int sink_bytes = 0;   // of shared memory that the sink uses: the first ones
    int stage_steps = 1;  // that are copied together; set by launch_tiles
};

// Rows and columns are counted in 32 bits, which leaves registers to the counts.
inline int checked_count(int64_t count) {
    if (count > std::numeric_limits<int>::max())
        throw std::runtime_error("more than 2^31 output pixels: use smaller batches");
    return static_cast<int>(count);
}

// All pairs in the order of descending weight.
inline void set_pairs(TileOperands& operands, const BinaryConv& conv) {
    operands.a_planes = conv.x_planes;
    operands.b_planes = conv.w_planes;
    operands.pairs = 0;
    int weight = conv.x_shift(conv.x_planes - 1) + conv.w_shift(conv.w_planes - 1);
    for (int shift = weight; shift >= 0; --shift)
        for (int p = 0; p < conv.x_planes; ++p)
            for (int q = 0; q < conv.w_planes; ++q) {
                if (conv.x_shift(p) + conv.w_shift(q) != shift) continue;
                operands.pair[operands.pairs++] = {static_cast<int8_t>(p), static_cast<int8_t>(q),
                                                   static_cast<int8_t>(weight - shift)};
                weight = shift;
            }
}

template <int kWarpRows_, int kRowTiles_, int kColumnTiles_>
struct TileShape {
    static constexpr int kWarpRows = kWarpRows_, kWarpColumns = kTileWarps / kWarpRows;
    static constexpr int kRowTiles = kRowTiles_, kColumnTiles = kColumnTiles_;
    static constexpr int kRows = 16 * kRowTiles * kWarpRows, kColumns = 8 * kColumnTiles * kWarpColumns;
    using Origin = int[kRowTiles][4];
    using Counts = int[kRowTiles][kColumnTiles][4];
};

// Which of a block's results a thread holds.
template <class Shape>
struct TilePlace {
    int group, first_row, first_column;  // of this thread
    int rows, columns;

    // Of the i-th value of counts[row_tile][column_tile].
    __device__ int row(int row_tile, int i) const { return first_row + row_tile * 16 + i / 2 * 8; }
    __device__ int column(int column_tile, int i) const { return first_column + column_tile * 8 + i % 2; }
    __device__ bool inside(int row, int column) const { return row < rows && column < columns; }
    __device__ int output(int column) const { return group * columns + column; }
};

namespace tile {

constexpr int kPieceBytes = kPieceWords * 8, kChunkBytes = 16, kChunkWords = 2,
              kPieceChunks = kPieceBytes / kChunkBytes;
constexpr int kMostStageSteps = 4;  // 128 bytes of a row, so that eight rows of a matrix lie in different banks
constexpr int kStages = 3;

// Byte offset of a chunk of a row; rows of eight chunks are permuted, so that a column of chunks meets all banks.
__device__ constexpr int chunk_offset(int row, int chunk, int row_chunks) {
    const int place = row_chunks == 8 ? chunk ^ (row & 7) : chunk;
    return (row * row_chunks + place) * kChunkBytes;
}

// Copies `row_chunks` chunks of each of kRows rows, from chunk `first` on; what lies outside the operand becomes 0.
template <int kRows>
__device__ __forceinline__ void copy_rows(unsigned char* to, const uint64_t* from, int rows, int pitch_chunks,
                                          int first, int end, int row_chunks) {
    for (int i = static_cast<int>(threadIdx.x); i < kRows * row_chunks; i += kTileThreads) {
        const int row = row_chunks == 8 ? i / 8 : i / row_chunks;
        const int chunk = i - row * row_chunks;
        const bool present = row < rows && first + chunk < end;
        const int64_t at = present ? int64_t{row} * pitch_chunks + first + chunk : 0;
        copy_async(to + chunk_offset(row, chunk, row_chunks), from + at * kChunkWords, present);
    }
}

}  // namespace tile

// Adds the equal bits of one step's pieces of a pair of planes: to = from + counts. Lanes give the addresses of the matrices'
// rows: `rows` and `columns` find a chunk of 16 bytes of this lane's row of the i-th tile.
template <class Shape, class Rows, class Columns, class From>
__device__ __forceinline__ void add_pair(typename Shape::Counts& to, const Rows& rows, const Columns& columns,
                                         const From& from) {
    uint32_t a[Shape::kRowTiles][4];
#pragma unroll
    for (int r = 0; r < Shape::kRowTiles; ++r) load_matrices(a[r], rows(r));
#pragma unroll
    for (int c = 0; c < Shape::kColumnTiles; ++c) {
        uint32_t b[2];
        load_matrices(b, columns(c));
#pragma unroll
        for (int r = 0; r < Shape::kRowTiles; ++r) and_count(to[r][c], a[r], b, from(r, c));
    }
}

template <class Shape, class Body>
__device__ __forceinline__ void for_each_count(const Body& body) {
#pragma unroll
    for (int r = 0; r < Shape::kRowTiles; ++r)
#pragma unroll
        for (int c = 0; c < Shape::kColumnTiles; ++c)
#pragma unroll
            for (int i = 0; i < 4; ++i) body(r, c, i);
}

// The rows of a thread: half 0 holds values 0 and 1 of a count, half 1 values 2 and 3.
template <class Shape, class Body>
__device__ __forceinline__ void for_each_row(const Body& body) {
#pragma unroll
    for (int r = 0; r < Shape::kRowTiles; ++r)
#pragma unroll
        for (int half = 0; half < 2; ++half) body(r, half);
}

// Calls body(r, c, i, at, output) for every value inside the matrix, `at` being its index in [images][outputs][pixels]. What a
// row needs is computed once per row, or code and its compilation grow with the number of values.
template <class Shape, class Body>
__device__ __forceinline__ void for_each_result(const TilePlace<Shape>& place, int64_t pixels, int64_t outputs,
                                                const Body& body) {
    int64_t first[Shape::kRowTiles][2];  // of output 0
    for_each_row<Shape>([&](int r, int half) {
        const int row = place.row(r, 2 * half);
        first[r][half] = row / pixels * outputs * pixels + row % pixels;
    });
    for_each_count<Shape>([&](int r, int c, int i) {
        const int row = place.row(r, i), column = place.column(c, i);
        if (!place.inside(row, column)) return;
        const int output = place.output(column);
        body(r, c, i, first[r][i / 2] + output * pixels, output);
    });
}

template <class Shape, bool kOnePair, class Sink>
__global__ void __launch_bounds__(kTileThreads)
    tile_product(const __grid_constant__ TileOperands operands,
                 const __grid_constant__ typename Sink::Parameters parameters) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int group = static_cast<int>(blockIdx.z), block = static_cast<int>(blockIdx.x);
    const int column_blocks = static_cast<int>(ceil_div(operands.columns, Shape::kColumns));
    const int block_row = block / column_blocks * Shape::kRows, block_column = block % column_blocks * Shape::kColumns;
    const int warp_row = warp / Shape::kWarpColumns * Shape::kRowTiles * 16;
    const int warp_column = warp % Shape::kWarpColumns * Shape::kColumnTiles * 8;

    const int stage_steps = operands.stage_steps;
    const int a_chunks = stage_steps * operands.a_planes * tile::kPieceChunks;
    const int b_chunks = stage_steps * operands.b_planes * tile::kPieceChunks;
    const int row_steps = operands.row_arrays * operands.steps_per_array;
    const int a_pitch = row_steps * operands.a_planes * tile::kPieceChunks;
    const int b_pitch = row_steps * operands.b_planes * tile::kPieceChunks;
    const int first_step = operands.first_array * operands.steps_per_array;
    const int steps = operands.arrays * operands.steps_per_array;
    const int stages = (steps + stage_steps - 1) / stage_steps;
    const int a_bytes = Shape::kRows * a_chunks * tile::kChunkBytes;
    const int b_bytes = Shape::kColumns * b_chunks * tile::kChunkBytes;
    unsigned char* const shared = dynamic_shared() + operands.sink_bytes;

    const uint64_t* const a = operands.a + (int64_t{group} * operands.rows + block_row) * a_pitch * tile::kChunkWords;
    const uint64_t* const b =
        operands.b + (int64_t{group} * operands.columns + block_column) * b_pitch * tile::kChunkWords;
    const auto copy_stage = [&](int stage) {
        if (stage < stages) {
            unsigned char* const to = shared + stage % tile::kStages * (a_bytes + b_bytes);
            const int a_step = operands.a_planes * tile::kPieceChunks, b_step = operands.b_planes * tile::kPieceChunks;
            const int step = first_step + stage * stage_steps, end = first_step + steps;
            tile::copy_rows<Shape::kRows>(to, a, operands.rows - block_row, a_pitch, step * a_step, end * a_step,
                                          a_chunks);
            tile::copy_rows<Shape::kColumns>(to + a_bytes, b, operands.columns - block_column, b_pitch, step * b_step,
                                             end * b_step, b_chunks);
        }
        commit_copies();  // an empty group too, so that counting groups stays simple
    };
    for (int stage = 0; stage < tile::kStages - 1; ++stage) copy_stage(stage);

    const TilePlace<Shape> place = {group, block_row + warp_row + lane / 4, block_column + warp_column + lane % 4 * 2,
                                    operands.rows, operands.columns};
    Sink sink(parameters, place);
    typename Shape::Counts counts = {};
    typename Shape::Origin origin = {};
    const int a_row = warp_row + lane % 16, a_half = lane / 16, b_row = warp_column + lane % 8, b_half = lane / 8 % 2;

    int step_in_array = 0;
    int array = operands.first_array, step = 0;
    for (int stage = 0; stage < stages; ++stage) {
        wait_for_copies<tile::kStages - 2>();
        __syncthreads();  // the stage is there for all, and the one before it was read by all
        copy_stage(stage + tile::kStages - 1);
        const unsigned char* const at = shared + stage % tile::kStages * (a_bytes + b_bytes);
        for (int i = 0; i < stage_steps && step < steps; ++i, ++step) {
            const auto rows = [&](int plane) {
                return [=](int r) {
                    const int chunk = (i * operands.a_planes + plane) * tile::kPieceChunks + a_half;
                    return at + tile::chunk_offset(a_row + r * 16, chunk, a_chunks);
                };
            };
            const auto columns = [&](int plane) {
                return [=](int c) {
                    const int chunk = (i * operands.b_planes + plane) * tile::kPieceChunks + b_half;
                    return at + a_bytes + tile::chunk_offset(b_row + c * 8, chunk, b_chunks);
                };
            };
            const bool first = step_in_array == 0;
            if (first) sink.origin(array, array == operands.first_array, origin);
            if constexpr (kOnePair) {
                if (first)
                    add_pair<Shape>(counts, rows(0), columns(0), [&](int r, int) -> auto& { return origin[r]; });
                else
                    add_pair<Shape>(counts, rows(0), columns(0), [&](int r, int c) -> auto& { return counts[r][c]; });
            } else {
                typename Shape::Counts sums = {};
                for (int pair = 0; pair < operands.pairs; ++pair) {
                    const PlanePair planes = operands.pair[pair];
                    for_each_count<Shape>([&](int r, int c, int v) { sums[r][c][v] <<= planes.doublings; });
                    add_pair<Shape>(sums, rows(planes.a), columns(planes.b),
                                    [&](int r, int c) -> auto& { return sums[r][c]; });
                }
                for_each_count<Shape>([&](int r, int c, int v) {
                    counts[r][c][v] = (first ? origin[r][v] : counts[r][c][v]) + sums[r][c][v];
                });
            }
            if (++step_in_array < operands.steps_per_array) continue;
            sink.take(array, counts);
            step_in_array = 0;
            ++array;
        }
    }
    sink.finish(counts);
}

// kOnePair: for operands of one plane each, whose counts need no doubling.
template <class Shape, bool kOnePair, class Sink>
void launch_tiles(TileOperands operands, const typename Sink::Parameters& parameters, int64_t groups, void* stream) {
    const int64_t blocks = ceil_div(operands.rows, Shape::kRows) * ceil_div(operands.columns, Shape::kColumns);
    const int64_t step = tile::kPieceBytes * (Shape::kRows * operands.a_planes + Shape::kColumns * operands.b_planes);
    const auto shared = [&] { return operands.sink_bytes + tile::kStages * operands.stage_steps * step; };
    operands.stage_steps = std::max(1, tile::kMostStageSteps / std::max(operands.a_planes, operands.b_planes));
    while (operands.stage_steps > 1 && shared() > most_shared_bytes()) operands.stage_steps /= 2;
    const dim3 grid(static_cast<unsigned>(blocks), 1, static_cast<unsigned>(groups));
    launch(tile_product<Shape, kOnePair, Sink>, grid, kTileThreads, shared(), stream, operands, parameters);
}

}  // namespace bnnkit
