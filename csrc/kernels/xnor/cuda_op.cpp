#include "../../python/on_device.h"
#include "tensors.h"

namespace bnnkit::binding {
namespace {

Tensor xnor_conv2d(Tensor x_bits, Tensor w_bits, std::optional<Tensor>, std::optional<Tensor>,
                   std::optional<Tensor> bias, int64_t channels, Ints kernel, Ints stride, Ints padding, Ints dilation,
                   int64_t groups) {
    const OnDevice device(x_bits);
    const auto run = [&](const XnorArgs& args) {
        device.run(Kernel::xnor, xnor_cuda_workspace(args), [&](const Device& d) { xnor_cuda(args, d); });
    };
    return xnor_conv2d_by(run, x_bits, w_bits, bias, uncut(channels, kernel, stride, padding, dilation, groups));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) { m.impl("xnor_conv2d", TORCH_BOX(&xnor_conv2d)); }

}  // namespace bnnkit::binding
