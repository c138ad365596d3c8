#include "../../python/on_device.h"
#include "factors.h"
#include "tensors.h"

namespace bnnkit::binding {
namespace {

Tensor adc_conv2d(Tensor x_bits, Tensor w_bits, std::optional<Tensor>, std::optional<Tensor>,
                  std::optional<Tensor> bias, Tensor thresholds, Tensor levels, Tensor, double scale, double offset,
                  double, double, bool x_thermometer, bool w_thermometer, int64_t channels, Ints kernel, Ints stride,
                  Ints padding, Ints dilation, int64_t groups, int64_t channels_per_array, bool tap) {
    const OnDevice device(x_bits);
    const auto run = [&](const AdcArgs& args) {
        device.run(Kernel::adc, adc_cuda_workspace(args), [&](const Device& d) { adc_cuda(args, d); });
    };
    return adc_conv2d_by(run, x_bits, w_bits, bias, {thresholds, levels, scale, offset}, x_thermometer, w_thermometer,
                         {channels, kernel, stride, padding, dilation, groups, channels_per_array, tap});
}

// g, x and w of some arrays; see factors.h.
std::vector<Tensor> adc_gradient_factors(Tensor gy, Tensor x_bits, Tensor w_bits, std::optional<Tensor> slopes,
                                         bool x_thermometer, bool w_thermometer, int64_t channels, Ints kernel,
                                         Ints stride, Ints padding, Ints dilation, int64_t groups,
                                         int64_t channels_per_array, bool tap, int64_t first_array, int64_t arrays,
                                         bool bfloat16) {
    const OnDevice device(gy);
    AdcFactorsArgs args;
    args.conv =
        binary_conv(x_bits, w_bits, {channels, kernel, stride, padding, dilation, groups, channels_per_array, tap},
                    x_thermometer, w_thermometer);
    const ConvGeometry& g = args.conv.geometry;
    check_gradient(gy, g);
    STD_TORCH_CHECK(first_array >= 0 && arrays >= 1 && first_array + arrays <= args.conv.layout.arrays(),
                    "first_array, arrays: lie outside the ", args.conv.layout.arrays(), " arrays of the layout");
    std::tie(args.slopes, args.slope_bound) = slopes_of(slopes, args.conv);
    args.gy = data_of<float>(gy);
    args.first_array = first_array;
    args.arrays = arrays;
    args.bfloat16 = bfloat16;
    const ScalarType type = bfloat16 ? ScalarType::BFloat16 : ScalarType::Float;
    const int64_t matrices = groups * arrays, pixels = g.batch * g.out_pixels();
    Tensor factor = empty_output(gy, {matrices, pixels, g.group_outputs()}, type);
    Tensor x = empty_output(gy, {matrices, pixels, args.lines()}, type);
    Tensor w = empty_output(gy, {matrices, g.group_outputs(), args.lines()}, type);
    args.g = factor.mutable_data_ptr();
    args.x = x.mutable_data_ptr();
    args.w = w.mutable_data_ptr();
    device.run(Kernel::adc_backward, adc_factors_cuda_workspace(args),
               [&](const Device& d) { adc_factors_cuda(args, d); });
    return {factor, x, w};
}

void adc_fold_gradients(Tensor patches, Tensor rows, Tensor gx, Tensor gw, double x_unit, double w_unit, Ints kernel,
                        Ints stride, Ints padding, Ints dilation, int64_t groups, int64_t channels_per_array, bool tap,
                        int64_t first_array) {
    const OnDevice device(gx);
    for (const Tensor* t : {&patches, &rows, &gx, &gw}) check_dense(*t, "gradients", ScalarType::Float, "float32");
    STD_TORCH_CHECK(patches.dim() == 3 && rows.dim() == 3 && gx.dim() == 4 && gw.dim() == 4,
                    "patches, rows: needed three dimensions; gx, gw: four");
    AdcFoldArgs args;
    ConvGeometry& g = args.geometry;
    g.batch = gx.size(0), g.channels = gx.size(1), g.height = gx.size(2), g.width = gx.size(3);
    g.out_channels = gw.size(0);
    g.kernel_h = kernel.at(0), g.kernel_w = kernel.at(1), g.stride_h = stride.at(0), g.stride_w = stride.at(1);
    g.pad_h = padding.at(0), g.pad_w = padding.at(1), g.dilation_h = dilation.at(0), g.dilation_w = dilation.at(1);
    g.groups = groups;
    args.layout = layout_of(g, channels_per_array, tap);
    args.first_array = first_array;
    args.arrays = patches.size(0) / groups;
    args.lines = patches.size(2);
    STD_TORCH_CHECK(patches.size(1) == g.batch * g.out_pixels() && rows.size(0) == patches.size(0) &&
                        rows.size(1) == g.group_outputs() && rows.size(2) == args.lines &&
                        args.lines >= (tap ? 1 : g.taps()) * std::min(channels_per_array, g.group_channels()),
                    "patches, rows: do not fit the convolution");
    args.x_unit = static_cast<float>(x_unit);
    args.w_unit = static_cast<float>(w_unit);
    args.patches = data_of<float>(patches);
    args.rows = data_of<float>(rows);
    args.gx = static_cast<float*>(gx.mutable_data_ptr());
    args.gw = static_cast<float*>(gw.mutable_data_ptr());
    device.run(Kernel::adc_backward, 0, [&](const Device& d) { adc_fold_cuda(args, d); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) {
    m.impl("adc_conv2d", TORCH_BOX(&adc_conv2d));
    m.impl("adc_gradient_factors", TORCH_BOX(&adc_gradient_factors));
    m.impl("adc_fold_gradients", TORCH_BOX(&adc_fold_gradients));
}

}  // namespace bnnkit::binding
