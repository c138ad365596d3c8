#include "../../python/on_device.h"
#include "tensors.h"

namespace bnnkit::binding {
namespace {

Tensor dense_conv2d(Tensor x, Tensor w, std::optional<Tensor> bias, Ints stride, Ints padding) {
    const OnDevice device(x);
    const auto run = [&](const DenseArgs& args) {
        device.run(Kernel::dense, 0, [&](const Device& d) { dense_cuda(args, d); });
    };
    return dense_conv2d_by(run, x, w, bias, stride, padding);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) { m.impl("dense_conv2d", TORCH_BOX(&dense_conv2d)); }

}  // namespace bnnkit::binding
