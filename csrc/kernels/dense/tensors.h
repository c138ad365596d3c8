// The dense op on any device: checks, and the kernel's arguments.
#pragma once

#include "../../python/tensor_args.h"
#include "dense.h"

namespace bnnkit::binding {

template <class Run>
Tensor dense_conv2d_by(const Run& run, const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias,
                       const Ints& stride, const Ints& padding) {
    for (const Tensor* t : {&x, &w}) {
        check_dense(*t, "x, w", ScalarType::Float, "float32");
        STD_TORCH_CHECK(t->dim() == 4, "x, w: needed four dimensions each");
    }
    STD_TORCH_CHECK(x.size(1) == w.size(1), "w: has ", w.size(1), " channels; x has ", x.size(1));
    STD_TORCH_CHECK(stride.size() == 2 && padding.size() == 2, "stride, padding: needed two integers each");
    STD_TORCH_CHECK(stride[0] > 0 && stride[1] > 0 && padding[0] >= 0 && padding[1] >= 0,
                    "stride must be positive and padding not negative");
    DenseArgs args;
    ConvGeometry& g = args.geometry;
    g.batch = x.size(0), g.channels = x.size(1), g.height = x.size(2), g.width = x.size(3);
    g.out_channels = w.size(0), g.kernel_h = w.size(2), g.kernel_w = w.size(3);
    g.stride_h = stride[0], g.stride_w = stride[1], g.pad_h = padding[0], g.pad_w = padding[1];
    STD_TORCH_CHECK(g.taps() > 0 && g.height + 2 * g.pad_h >= g.kernel_h && g.width + 2 * g.pad_w >= g.kernel_w,
                    "x: image is smaller than the kernel");
    args.x = data_of<float>(x);
    args.w = data_of<float>(w);
    args.bias = optional_bias(bias, g.out_channels);
    Tensor y = empty_output(x, {g.batch, g.out_channels, g.out_height(), g.out_width()}, ScalarType::Float);
    args.y = static_cast<float*>(y.mutable_data_ptr());
    run(args);
    return y;
}

}  // namespace bnnkit::binding
