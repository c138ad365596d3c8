#include "../../python/tensor_args.h"
#include "xnor.h"

namespace bnnkit::binding {
namespace {

// x and w are the tensors the bits were packed from: they receive the gradient, their values are not read.
Tensor xnor_conv2d(Tensor x_bits, Tensor w_bits, std::optional<Tensor>, std::optional<Tensor>,
                   std::optional<Tensor> bias, int64_t channels, Ints kernel, Ints stride, Ints padding, Ints dilation,
                   int64_t groups) {
    STD_TORCH_CHECK(groups > 0 && channels % groups == 0, "groups: must divide the channels");
    XnorArgs args;
    args.conv = binary_conv(
        x_bits, w_bits, {channels, kernel, stride, padding, dilation, groups, channels / groups, false}, false, false);
    STD_TORCH_CHECK(args.conv.x_planes == 1 && args.conv.w_planes == 1, "x_bits, w_bits: needed one plane each");
    const ConvGeometry& g = args.conv.geometry;
    STD_TORCH_CHECK(g.group_channels() * g.taps() < (int64_t{1} << 24),
                    "k: sums of 2^24 and more are not exact in float32");
    args.bias = optional_bias(bias, g.out_channels);
    Tensor y = empty_output(output_size(args.conv), ScalarType::Float);
    args.y = static_cast<float*>(y.mutable_data_ptr());
    xnor(args);
    return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) { m.impl("xnor_conv2d", TORCH_BOX(&xnor_conv2d)); }

}  // namespace bnnkit::binding
