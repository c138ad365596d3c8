#include "../../python/on_device.h"
#include "tensors.h"

namespace bnnkit::binding {
namespace {

// Lends `kernel` the device for its arguments.
template <class Args>
auto on(const OnDevice& device, void (*kernel)(const Args&, const Device&)) {
    return [&device, kernel](const Args& args) {
        device.run(Kernel::xnor, xnor_cuda_workspace(args.conv), [&](const Device& d) { kernel(args, d); });
    };
}

Tensor xnor_conv2d(Tensor x_bits, Tensor w_bits, std::optional<Tensor>, std::optional<Tensor>,
                   std::optional<Tensor> bias, int64_t channels, Ints kernel, Ints stride, Ints padding, Ints dilation,
                   int64_t groups) {
    const OnDevice device(x_bits);
    return xnor_conv2d_by(on(device, xnor_cuda), x_bits, w_bits, bias,
                          uncut(channels, kernel, stride, padding, dilation, groups));
}

Tensor xnor_conv2d_integers(Tensor x_bits, Tensor w_bits, int64_t bits, int64_t channels, Ints kernel, Ints stride,
                            Ints padding, Ints dilation, int64_t groups) {
    const OnDevice device(x_bits);
    return xnor_conv2d_integers_by(on(device, xnor_integers_cuda), x_bits, w_bits, bits,
                                   uncut(channels, kernel, stride, padding, dilation, groups));
}

Tensor xnor_conv2d_bits(Tensor x_bits, Tensor w_bits, Tensor thresholds, Tensor flip, int64_t channels, Ints kernel,
                        Ints stride, Ints padding, Ints dilation, int64_t groups) {
    const OnDevice device(x_bits);
    return xnor_conv2d_bits_by(on(device, xnor_bits_cuda), x_bits, w_bits, thresholds, flip,
                               uncut(channels, kernel, stride, padding, dilation, groups));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) {
    m.impl("xnor_conv2d", TORCH_BOX(&xnor_conv2d));
    m.impl("xnor_conv2d_integers", TORCH_BOX(&xnor_conv2d_integers));
    m.impl("xnor_conv2d_bits", TORCH_BOX(&xnor_conv2d_bits));
}

}  // namespace bnnkit::binding
