#include <algorithm>

#include "../../python/tensor_args.h"
#include "adc.h"

namespace bnnkit::binding {
namespace {

// x and w are the tensors the bits were packed from: they receive the gradient, their values are not read.
Tensor adc_conv2d(Tensor x_bits, Tensor w_bits, std::optional<Tensor>, std::optional<Tensor>,
                  std::optional<Tensor> bias, Tensor thresholds, Tensor levels, Tensor, double scale, double offset,
                  double, double, bool x_thermometer, bool w_thermometer, int64_t channels, Ints kernel, Ints stride,
                  Ints padding, Ints dilation, int64_t groups, int64_t channels_per_array, bool tap) {
    AdcArgs args;
    args.conv =
        binary_conv(x_bits, w_bits, {channels, kernel, stride, padding, dilation, groups, channels_per_array, tap},
                    x_thermometer, w_thermometer);
    check_dense(thresholds, "thresholds", ScalarType::Int, "int32");
    check_dense(levels, "levels", ScalarType::Int, "int32");
    STD_TORCH_CHECK(levels.numel() >= 1 && levels.numel() <= kMaxLevels && thresholds.numel() == levels.numel() - 1,
                    "levels: needed one more than thresholds, at most ", kMaxLevels);
    args.thresholds = data_of<int32_t>(thresholds);
    args.levels = data_of<int32_t>(levels);
    args.level_count = static_cast<int>(levels.numel());
    STD_TORCH_CHECK(std::is_sorted(args.thresholds, args.thresholds + args.level_count - 1), "thresholds: must ascend");
    const int64_t largest = largest_magnitude(args.levels, static_cast<size_t>(args.level_count));
    STD_TORCH_CHECK(largest * args.conv.layout.arrays() < (int64_t{1} << 31), "levels: sums over ",
                    args.conv.layout.arrays(), " arrays overflow 32 bits");
    args.scale = scale;
    args.offset = offset;
    args.bias = optional_bias(bias, args.conv.geometry.out_channels);
    Tensor y = empty_output(output_size(args.conv), ScalarType::Float);
    args.y = static_cast<float*>(y.mutable_data_ptr());
    adc(args);
    return y;
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
    check_dense(gy, "gy", ScalarType::Float, "float32");
    STD_TORCH_CHECK(gy.numel() == g.batch * g.out_channels * g.out_pixels(), "gy: needed the size of the output");
    if (slopes) {
        check_dense(*slopes, "slopes", ScalarType::Float, "float32");
        args.slopes = data_of<float>(*slopes);
        args.slope_bound = (slopes->numel() - 1) / 2;
        const int64_t rows = args.conv.layout.tap ? 1 : g.taps();
        const int64_t bound =
            args.conv.product_bound() * rows * std::min(args.conv.layout.channels_per_array, g.group_channels());
        STD_TORCH_CHECK(args.slope_bound >= bound, "slopes: cover partial sums up to ", args.slope_bound, "; needed ",
                        bound);
    }
    args.x_unit = static_cast<float>(x_unit);
    args.w_unit = static_cast<float>(w_unit);
    args.gy = data_of<float>(gy);
    Tensor gx = empty_output({g.batch, g.channels, g.height, g.width}, ScalarType::Float);
    Tensor gw = empty_output({g.out_channels, g.group_channels(), g.kernel_h, g.kernel_w}, ScalarType::Float);
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
