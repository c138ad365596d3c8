// The bitplane ops on any device: checks, and the kernel's arguments.
#pragma once

#include "../../python/tensor_args.h"
#include "bitplane.h"

namespace bnnkit::binding {

constexpr int64_t kMaxBits = 16, kMaxCellBit = 8;

inline void check_cell(int64_t cell_bit) {
    STD_TORCH_CHECK(cell_bit >= 1 && cell_bit <= kMaxCellBit, "cell_bit: ", cell_bit, "; needed 1 to ", kMaxCellBit);
}

// used_bits(args): all bits of all values of the operand, a negative weight having the top one. run(args): the kernel.
template <class UsedBits, class Run>
Tensor slice_weights_by(const UsedBits& used_bits, const Run& run, const Tensor& w, int64_t bits, int64_t cell_bit) {
    check_dense(w, "w", ScalarType::Int, "int32");
    STD_TORCH_CHECK(bits >= 1 && bits <= kMaxBits, "bits: ", bits, "; needed 1 to ", kMaxBits);
    check_cell(cell_bit);
    BitplaneArgs args;
    args.weights = const_cast<int32_t*>(data_of<int32_t>(w));
    args.count = w.numel();
    args.cell_bit = static_cast<int>(cell_bit);
    args.slice_count = static_cast<int>(ceil_div(bits, cell_bit));
    args.threads = torch_threads();
    STD_TORCH_CHECK(used_bits(args) >> bits == 0, "w: has values outside 0..", (1 << bits) - 1, "; needed unsigned ",
                    bits, "-bit codes");
    Ints size = {args.slice_count};
    for (int64_t d = 0; d < w.dim(); ++d) size.push_back(w.size(d));
    Tensor out = empty_output(w, size, ScalarType::Byte);
    args.slices = static_cast<uint8_t*>(out.mutable_data_ptr());
    run(args);
    return out;
}

template <class UsedBits, class Run>
Tensor merge_slices_by(const UsedBits& used_bits, const Run& run, const Tensor& slices, int64_t cell_bit) {
    check_dense(slices, "slices", ScalarType::Byte, "uint8");
    check_cell(cell_bit);
    STD_TORCH_CHECK(slices.dim() >= 1 && slices.size(0) >= 1, "slices: needed [slices, ...]");
    STD_TORCH_CHECK((slices.size(0) - 1) * cell_bit < 24, "slices: ", slices.size(0), " of ", cell_bit,
                    " bits exceed int32");
    BitplaneArgs args;
    args.direction = BitplaneArgs::Direction::merge;
    Ints size;
    for (int64_t d = 1; d < slices.dim(); ++d) size.push_back(slices.size(d));
    Tensor out = empty_output(slices, size, ScalarType::Int);
    args.weights = static_cast<int32_t*>(out.mutable_data_ptr());
    args.slices = const_cast<uint8_t*>(data_of<uint8_t>(slices));
    args.count = out.numel();
    args.slice_count = static_cast<int>(slices.size(0));
    args.cell_bit = static_cast<int>(cell_bit);
    args.threads = torch_threads();
    STD_TORCH_CHECK(used_bits(args) >> cell_bit == 0, "slices: have values outside 0..", (1 << cell_bit) - 1,
                    ", the range of a cell");
    run(args);
    return out;
}

}  // namespace bnnkit::binding
