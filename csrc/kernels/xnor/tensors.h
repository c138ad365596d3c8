// The xnor op on any device: checks, and the kernel's arguments.
#pragma once

#include "../../python/tensor_args.h"
#include "xnor.h"

namespace bnnkit::binding {

// x and w are the tensors the bits were packed from: they receive the gradient, their values are not read. `run` is the
// kernel.
template <class Run>
Tensor xnor_conv2d_by(const Run& run, const Tensor& x_bits, const Tensor& w_bits, const std::optional<Tensor>& bias,
                      const ConvShape& shape) {
    XnorArgs args;
    args.conv = binary_conv(x_bits, w_bits, shape, false, false);
    STD_TORCH_CHECK(args.conv.x_planes == 1 && args.conv.w_planes == 1, "x_bits, w_bits: needed one plane each");
    const ConvGeometry& g = args.conv.geometry;
    STD_TORCH_CHECK(g.group_channels() * g.taps() < (int64_t{1} << 24),
                    "k: sums of 2^24 and more are not exact in float32");
    args.bias = optional_bias(bias, g.out_channels);
    Tensor y = empty_output(x_bits, output_size(args.conv), ScalarType::Float);
    args.y = static_cast<float*>(y.mutable_data_ptr());
    run(args);
    return y;
}

inline ConvShape uncut(int64_t channels, const Ints& kernel, const Ints& stride, const Ints& padding,
                       const Ints& dilation, int64_t groups) {
    STD_TORCH_CHECK(groups > 0 && channels % groups == 0, "groups: must divide the channels");
    return {channels, kernel, stride, padding, dilation, groups, channels / groups, false};
}

}  // namespace bnnkit::binding
