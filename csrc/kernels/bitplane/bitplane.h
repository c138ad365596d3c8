// bitplane: integer weights into slices of cell_bit bits, least significant first, and back.
//
//   slice[c][i] = (w[i] >> (cell_bit * c)) & (2^cell_bit - 1)          w[i] = sum over c of slice[c][i] << (cell_bit * c)
//
// Exact for 0 <= w < 2^bits, bits <= 16. When cell_bit does not divide bits the last slice is narrower; nothing is dropped.
#pragma once

#include "../../core/cuda/device.h"
#include "../../core/packing.h"
#include "../../core/parallel.h"

namespace bnnkit {

struct BitplaneArgs {
    enum class Direction { slice, merge } direction = Direction::slice;
    int32_t* weights = nullptr;  // [count]; read by slice, written by merge
    uint8_t* slices = nullptr;   // [slice_count][count]; written by slice, read by merge
    int64_t count = 0;
    int slice_count = 1, cell_bit = 1;
    Threads threads = {};
};

void bitplane(const BitplaneArgs& args);

void bitplane_reference(const BitplaneArgs& args);
void bitplane_neon(const BitplaneArgs& args);
void bitplane_avx2(const BitplaneArgs& args);
void bitplane_avx512(const BitplaneArgs& args);

// All pointers are the device's.
void bitplane_cuda(const BitplaneArgs& args, const Device& device);
// All bits of all values that `bitplane_cuda` would read; waits for the device. Workspace: the result.
uint32_t used_bits_cuda(const BitplaneArgs& args, const Device& device);

}  // namespace bnnkit
