#include "../../core/cuda/matrix_rates.h"

#include "../on_device.h"

namespace bnnkit::binding {
namespace {

// Starts the loop on the device of `like` and returns its multiply-accumulates; see core/cuda/matrix_rates.h.
int64_t matrix_rate(Tensor like, std::string instruction, int64_t iterations) {
    const OnDevice device(like);
    int64_t macs = 0;
    device.run_uncounted(sizeof(int), [&](const Device& d) { macs = matrix_rate_cuda(instruction, iterations, d); });
    return macs;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) { m.impl("matrix_rate", TORCH_BOX(&matrix_rate)); }

}  // namespace bnnkit::binding
