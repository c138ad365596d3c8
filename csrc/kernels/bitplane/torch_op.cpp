#include <cstring>

#include "tensors.h"

namespace bnnkit::binding {
namespace {

// Of bytes, eight at a time, or this check would take longer than the work.
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

uint32_t used_bits(const BitplaneArgs& args) {
    if (args.direction == BitplaneArgs::Direction::merge)
        return bits_of_any(args.slices, args.slice_count * args.count);
    uint32_t used = 0;
    for (int64_t i = 0; i < args.count; ++i) used |= static_cast<uint32_t>(args.weights[i]);
    return used;
}

Tensor slice_weights(Tensor w, int64_t bits, int64_t cell_bit) {
    return slice_weights_by(used_bits, bitplane, w, bits, cell_bit);
}

Tensor merge_slices(Tensor slices, int64_t cell_bit) { return merge_slices_by(used_bits, bitplane, slices, cell_bit); }

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) {
    m.impl("slice_weights", TORCH_BOX(&slice_weights));
    m.impl("merge_slices", TORCH_BOX(&merge_slices));
}

}  // namespace bnnkit::binding
