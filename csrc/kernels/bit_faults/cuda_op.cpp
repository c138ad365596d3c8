#include "../../python/on_device.h"
#include "tensors.h"

namespace bnnkit::binding {
namespace {

std::vector<Tensor> bit_faults(Tensor bits, Tensor state, int64_t channels, int64_t channels_per_array, int64_t kind,
                               int64_t limit, int64_t plane) {
    const OnDevice device(bits);
    const auto run = [&](const BitFaultsArgs& args) {
        device.run(Kernel::bit_faults, 0, [&](const Device& d) { bit_faults_cuda(args, d); });
    };
    return bit_faults_by(run, bits, state, channels, channels_per_array, kind, limit, plane);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) { m.impl("bit_faults", TORCH_BOX(&bit_faults)); }

}  // namespace bnnkit::binding
