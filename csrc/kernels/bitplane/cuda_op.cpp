#include "../../python/on_device.h"
#include "tensors.h"

namespace bnnkit::binding {
namespace {

auto used_bits_on(const OnDevice& device) {
    return [&](const BitplaneArgs& args) {
        uint32_t used = 0;
        device.run(Kernel::bitplane, sizeof used, [&](const Device& d) { used = used_bits_cuda(args, d); });
        return used;
    };
}

auto bitplane_on(const OnDevice& device) {
    return [&](const BitplaneArgs& args) {
        device.run(Kernel::bitplane, 0, [&](const Device& d) { bitplane_cuda(args, d); });
    };
}

Tensor slice_weights(Tensor w, int64_t bits, int64_t cell_bit) {
    const OnDevice device(w);
    return slice_weights_by(used_bits_on(device), bitplane_on(device), w, bits, cell_bit);
}

Tensor merge_slices(Tensor slices, int64_t cell_bit) {
    const OnDevice device(slices);
    return merge_slices_by(used_bits_on(device), bitplane_on(device), slices, cell_bit);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) {
    m.impl("slice_weights", TORCH_BOX(&slice_weights));
    m.impl("merge_slices", TORCH_BOX(&merge_slices));
}

}  // namespace bnnkit::binding
