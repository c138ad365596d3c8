#include "tensors.h"

namespace bnnkit::binding {
namespace {

Tensor xnor_conv2d(Tensor x_bits, Tensor w_bits, std::optional<Tensor>, std::optional<Tensor>,
                   std::optional<Tensor> bias, int64_t channels, Ints kernel, Ints stride, Ints padding, Ints dilation,
                   int64_t groups) {
    return xnor_conv2d_by(xnor, x_bits, w_bits, bias, uncut(channels, kernel, stride, padding, dilation, groups));
}

Tensor xnor_conv2d_integers(Tensor x_bits, Tensor w_bits, int64_t bits, int64_t channels, Ints kernel, Ints stride,
                            Ints padding, Ints dilation, int64_t groups) {
    return xnor_conv2d_integers_by(xnor_integers, x_bits, w_bits, bits,
                                   uncut(channels, kernel, stride, padding, dilation, groups));
}

Tensor xnor_conv2d_bits(Tensor x_bits, Tensor w_bits, Tensor thresholds, Tensor flip, int64_t channels, Ints kernel,
                        Ints stride, Ints padding, Ints dilation, int64_t groups) {
    return xnor_conv2d_bits_by(xnor_bits, x_bits, w_bits, thresholds, flip,
                               uncut(channels, kernel, stride, padding, dilation, groups));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) {
    m.impl("xnor_conv2d", TORCH_BOX(&xnor_conv2d));
    m.impl("xnor_conv2d_integers", TORCH_BOX(&xnor_conv2d_integers));
    m.impl("xnor_conv2d_bits", TORCH_BOX(&xnor_conv2d_bits));
}

}  // namespace bnnkit::binding
