#include <cstring>

#include "../../python/tensor_args.h"
#include "bitplane.h"

namespace bnnkit::binding {
namespace {

constexpr int64_t kMaxBits = 16, kMaxCellBit = 8;

// All bits that are set in any of the bytes; eight at a time, or this check would take longer than the work.
uint32_t bits_of_any(const uint8_t* bytes, int64_t count) {
    uint64_t used = 0;
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        uint64_t eight;
        std::memcpy(&eight, bytes + i, sizeof eight);
        used |= eight;
    }
    for (; i < count; ++i) used |= bytes[i];
    for (int shift = 32; shift >= 8; shift /= 2) used |= used >> shift;
    return static_cast<uint32_t>(used & 255);
}

void check_cell(int64_t cell_bit) {
    STD_TORCH_CHECK(cell_bit >= 1 && cell_bit <= kMaxCellBit, "cell_bit: ", cell_bit, "; needed 1 to ", kMaxCellBit);
}

Tensor slice_weights(Tensor w, int64_t bits, int64_t cell_bit) {
    check_dense(w, "w", ScalarType::Int, "int32");
    STD_TORCH_CHECK(bits >= 1 && bits <= kMaxBits, "bits: ", bits, "; needed 1 to ", kMaxBits);
    check_cell(cell_bit);
    BitplaneArgs args;
    args.weights = const_cast<int32_t*>(data_of<int32_t>(w));
    args.count = w.numel();
    uint32_t used = 0;  // all bits of all weights: a negative weight sets the top one
    for (int64_t i = 0; i < args.count; ++i) used |= static_cast<uint32_t>(args.weights[i]);
    STD_TORCH_CHECK(used >> bits == 0, "w: has values outside 0..", (1 << bits) - 1, "; needed unsigned ", bits,
                    "-bit codes");
    args.cell_bit = static_cast<int>(cell_bit);
    args.slice_count = static_cast<int>(ceil_div(bits, cell_bit));
    args.threads = torch_threads();
    Ints size = {args.slice_count};
    for (int64_t d = 0; d < w.dim(); ++d) size.push_back(w.size(d));
    Tensor out = empty_output(size, ScalarType::Byte);
    args.slices = static_cast<uint8_t*>(out.mutable_data_ptr());
    bitplane(args);
    return out;
}

Tensor merge_slices(Tensor slices, int64_t cell_bit) {
    check_dense(slices, "slices", ScalarType::Byte, "uint8");
    check_cell(cell_bit);
    STD_TORCH_CHECK(slices.dim() >= 1 && slices.size(0) >= 1, "slices: needed [slices, ...]");
    STD_TORCH_CHECK((slices.size(0) - 1) * cell_bit < 24, "slices: ", slices.size(0), " of ", cell_bit,
                    " bits exceed int32");
    BitplaneArgs args;
    args.direction = BitplaneArgs::Direction::merge;
    Ints size;
    for (int64_t d = 1; d < slices.dim(); ++d) size.push_back(slices.size(d));
    Tensor out = empty_output(size, ScalarType::Int);
    args.weights = static_cast<int32_t*>(out.mutable_data_ptr());
    args.slices = const_cast<uint8_t*>(data_of<uint8_t>(slices));
    args.count = out.numel();
    STD_TORCH_CHECK(bits_of_any(args.slices, slices.numel()) >> cell_bit == 0, "slices: have values outside 0..",
                    (1 << cell_bit) - 1, ", the range of a cell");
    args.slice_count = static_cast<int>(slices.size(0));
    args.cell_bit = static_cast<int>(cell_bit);
    args.threads = torch_threads();
    bitplane(args);
    return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) {
    m.impl("slice_weights", TORCH_BOX(&slice_weights));
    m.impl("merge_slices", TORCH_BOX(&merge_slices));
}

}  // namespace bnnkit::binding
