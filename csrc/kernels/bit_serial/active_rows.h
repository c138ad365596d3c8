// How many rows of every array an input bit switches on. Included inside an instruction-set region after blocks.h.
#pragma once

namespace bnnkit {
namespace {

// active [x_planes][kRows][arrays], for the rows of a block.
template <int64_t kRows>
inline void count_active(const BinaryConv& conv, const RowBlock& rows, int32_t* active) {
    const int64_t row_words = conv.layout.row_words(), arrays = conv.layout.arrays();
    const int64_t array_words = conv.layout.array_words();
    for (int64_t z = 0; z < conv.x_planes; ++z)
        for (int64_t r = 0; r < rows.count; ++r)
            for (int64_t s = 0; s < arrays; ++s) {
                const uint64_t* from = rows.words + (z * kRows + r) * row_words + s * array_words;
                int32_t count = 0;
                for (int64_t i = 0; i < array_words; ++i) count += __builtin_popcountll(from[i]);
                active[(z * kRows + r) * arrays + s] = count;
            }
}

}  // namespace
}  // namespace bnnkit
