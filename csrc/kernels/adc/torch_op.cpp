#include "tensors.h"

namespace bnnkit::binding {
namespace {

// x and w are the tensors the bits were packed from: they receive the gradient, their values are not read.
Tensor adc_conv2d(Tensor x_bits, Tensor w_bits, std::optional<Tensor>, std::optional<Tensor>,
                  std::optional<Tensor> bias, Tensor thresholds, Tensor levels, Tensor, double scale, double offset,
                  double, double, bool x_thermometer, bool w_thermometer, int64_t channels, Ints kernel, Ints stride,
                  Ints padding, Ints dilation, int64_t groups, int64_t channels_per_array, bool tap) {
    return adc_conv2d_by(adc, x_bits, w_bits, bias, {thresholds, levels, scale, offset}, x_thermometer, w_thermometer,
                         {channels, kernel, stride, padding, dilation, groups, channels_per_array, tap});
}

std::vector<Tensor> adc_conv2d_backward(Tensor gy, Tensor x_bits, Tensor w_bits, std::optional<Tensor> slopes,
                                        double x_unit, double w_unit, bool x_thermometer, bool w_thermometer,
                                        int64_t channels, Ints kernel, Ints stride, Ints padding, Ints dilation,
                                        int64_t groups, int64_t channels_per_array, bool tap) {
    AdcBackwardArgs args;
    args.conv =
        binary_conv(x_bits, w_bits, {channels, kernel, stride, padding, dilation, groups, channels_per_array, tap},
                    x_thermometer, w_thermometer);
    const ConvGeometry& g = args.conv.geometry;
    check_gradient(gy, g);
    std::tie(args.slopes, args.slope_bound) = slopes_of(slopes, args.conv);
    args.x_unit = static_cast<float>(x_unit);
    args.w_unit = static_cast<float>(w_unit);
    args.gy = data_of<float>(gy);
    Tensor gx = empty_output(gy, {g.batch, g.channels, g.height, g.width}, ScalarType::Float);
    Tensor gw = empty_output(gy, {g.out_channels, g.group_channels(), g.kernel_h, g.kernel_w}, ScalarType::Float);
    args.gx = static_cast<float*>(gx.mutable_data_ptr());
    args.gw = static_cast<float*>(gw.mutable_data_ptr());
    if (g.out_channels > 0)
        adc_backward(args);
    else
        std::fill_n(args.gx, gx.numel(), 0.0f);
    return {gx, gw};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) {
    m.impl("adc_conv2d", TORCH_BOX(&adc_conv2d));
    m.impl("adc_conv2d_backward", TORCH_BOX(&adc_conv2d_backward));
}

}  // namespace bnnkit::binding
