// The shift-and-mask algorithm, left to the compiler's vectorizer. Included inside an instruction-set region.
#pragma once

namespace bnnkit {
namespace {

inline void slice_range(const BitplaneArgs& a, int64_t begin, int64_t end) {
    const int32_t mask = (1 << a.cell_bit) - 1;
    for (int c = 0; c < a.slice_count; ++c) {
        const int shift = c * a.cell_bit;
        const int32_t* __restrict weights = a.weights;
        uint8_t* __restrict out = a.slices + c * a.count;
        for (int64_t i = begin; i < end; ++i) out[i] = static_cast<uint8_t>((weights[i] >> shift) & mask);
    }
}

inline void merge_range(const BitplaneArgs& a, int64_t begin, int64_t end) {
    int32_t* __restrict weights = a.weights;
    for (int64_t i = begin; i < end; ++i) weights[i] = a.slices[i];
    for (int c = 1; c < a.slice_count; ++c) {
        const int shift = c * a.cell_bit;
        const uint8_t* __restrict slices = a.slices + c * a.count;
        for (int64_t i = begin; i < end; ++i) weights[i] |= static_cast<int32_t>(slices[i]) << shift;
    }
}

inline void bitplane_by_shifting(const BitplaneArgs& args) {
    constexpr int64_t kBlock = 4096;  // weights of one block stay in the nearest cache over all slices
    parallel_for(args.threads, ceil_div(args.count, kBlock), [&](int64_t begin, int64_t end) {
        for (int64_t block = begin; block < end; ++block) {
            const int64_t first = block * kBlock, last = first + kBlock < args.count ? first + kBlock : args.count;
            if (args.direction == BitplaneArgs::Direction::slice)
                slice_range(args, first, last);
            else
                merge_range(args, first, last);
        }
    });
}

}  // namespace
}  // namespace bnnkit
