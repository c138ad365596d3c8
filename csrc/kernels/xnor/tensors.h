// The xnor op on any device: checks, and the kernel's arguments.
#pragma once

#include "../../python/tensor_args.h"
#include "xnor.h"

namespace bnnkit::binding {

inline ConvShape uncut(int64_t channels, const Ints& kernel, const Ints& stride, const Ints& padding,
                       const Ints& dilation, int64_t groups) {
    STD_TORCH_CHECK(groups > 0 && channels % groups == 0, "groups: must divide the channels");
    return {channels, kernel, stride, padding, dilation, groups, channels / groups, false};
}

inline BinaryConv signs_conv(const Tensor& x_bits, const Tensor& w_bits, const ConvShape& shape) {
    const BinaryConv conv = binary_conv(x_bits, w_bits, shape, false, false);
    STD_TORCH_CHECK(conv.x_planes == 1 && conv.w_planes == 1, "x_bits, w_bits: needed one plane each");
    STD_TORCH_CHECK(conv.geometry.group_channels() * conv.geometry.taps() < (int64_t{1} << 24),
                    "k: sums of 2^24 and more are not exact in float32");
    return conv;
}

// x and w are the tensors the bits were packed from: they receive the gradient, their values are not read. `run` is the
// kernel.
template <class Run>
Tensor xnor_conv2d_by(const Run& run, const Tensor& x_bits, const Tensor& w_bits, const std::optional<Tensor>& bias,
                      const ConvShape& shape) {
    XnorArgs args;
    args.conv = signs_conv(x_bits, w_bits, shape);
    args.bias = optional_bias(bias, args.conv.geometry.out_channels);
    Tensor y = empty_output(x_bits, output_size(args.conv), ScalarType::Float);
    args.y = static_cast<float*>(y.mutable_data_ptr());
    run(args);
    return y;
}

template <class Run>
Tensor xnor_conv2d_integers_by(const Run& run, const Tensor& x_bits, const Tensor& w_bits, int64_t bits,
                               const ConvShape& shape) {
    XnorIntegersArgs args;
    args.conv = signs_conv(x_bits, w_bits, shape);
    const ConvGeometry& g = args.conv.geometry;
    STD_TORCH_CHECK(bits == 16 || bits == 32, "bits: needed 16 or 32");
    STD_TORCH_CHECK(bits == 32 || g.group_channels() * g.taps() < (int64_t{1} << 15), "k: too large for 16-bit sums");
    args.bits = static_cast<int>(bits);
    Tensor y = empty_output(x_bits, output_size(args.conv), bits == 16 ? ScalarType::Short : ScalarType::Int);
    args.y = y.mutable_data_ptr();
    run(args);
    return y;
}

template <class Run>
Tensor xnor_conv2d_bits_by(const Run& run, const Tensor& x_bits, const Tensor& w_bits, const Tensor& thresholds,
                           const Tensor& flip, const ConvShape& shape) {
    XnorBitsArgs args;
    args.conv = signs_conv(x_bits, w_bits, shape);
    const ConvGeometry& g = args.conv.geometry;
    for (const Tensor* t : {&thresholds, &flip}) {
        check_dense(*t, "thresholds, flip", ScalarType::Int, "int32");
        STD_TORCH_CHECK(t->numel() == g.out_channels, "thresholds, flip: needed one value per output channel");
    }
    STD_TORCH_CHECK(g.groups == 1 || g.group_outputs() % 8 == 0,
                    "groups: bits of groups with a multiple of 8 outputs only");
    args.thresholds = data_of<int32_t>(thresholds);
    args.flip = data_of<int32_t>(flip);
    Tensor y = torch::stable::new_zeros(x_bits, {1, g.batch, g.out_height(), g.out_width(), args.words() * 8});
    args.y = static_cast<uint64_t*>(y.mutable_data_ptr());
    run(args);
    return y;
}

}  // namespace bnnkit::binding
