#include "tensors.h"

namespace bnnkit::binding {
namespace {

std::vector<Tensor> bit_faults(Tensor bits, Tensor state, int64_t channels, int64_t channels_per_array, int64_t kind,
                               int64_t limit, int64_t plane) {
    return bit_faults_by(bnnkit::bit_faults, bits, state, channels, channels_per_array, kind, limit, plane);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) { m.impl("bit_faults", TORCH_BOX(&bit_faults)); }

}  // namespace bnnkit::binding
