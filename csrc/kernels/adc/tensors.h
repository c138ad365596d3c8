// The adc ops on any device: checks, and the kernels' arguments.
#pragma once

#include <algorithm>

#include "../../python/tensor_args.h"
#include "adc.h"

namespace bnnkit::binding {

// Thresholds and levels lie on the CPU whatever the device: they are few, and the host restates them for the kernel.
struct [[gnu::visibility("hidden")]] Curve {  // as torch's tensors are
    Tensor thresholds, levels;
    double scale, offset;
};

template <class Run>
Tensor adc_conv2d_by(const Run& run, const Tensor& x_bits, const Tensor& w_bits, const std::optional<Tensor>& bias,
                     const Curve& curve, bool x_thermometer, bool w_thermometer, const ConvShape& shape) {
    AdcArgs args;
    args.conv = binary_conv(x_bits, w_bits, shape, x_thermometer, w_thermometer);
    for (const Tensor* table : {&curve.thresholds, &curve.levels})
        STD_TORCH_CHECK(table->is_cpu(), "thresholds, levels: lie on another device; needed CPU tensors");
    check_type(curve.thresholds, "thresholds", ScalarType::Int, "int32");
    check_type(curve.levels, "levels", ScalarType::Int, "int32");
    const int64_t count = curve.levels.numel();
    STD_TORCH_CHECK(count >= 1 && count <= kMaxLevels && curve.thresholds.numel() == count - 1,
                    "levels: needed one more than thresholds, at most ", kMaxLevels);
    args.thresholds = data_of<int32_t>(curve.thresholds);
    args.levels = data_of<int32_t>(curve.levels);
    args.level_count = static_cast<int>(count);
    STD_TORCH_CHECK(std::is_sorted(args.thresholds, args.thresholds + count - 1), "thresholds: must ascend");
    const int64_t largest = largest_magnitude(args.levels, static_cast<size_t>(count));
    STD_TORCH_CHECK(largest * args.conv.layout.arrays() < (int64_t{1} << 31), "levels: sums over ",
                    args.conv.layout.arrays(), " arrays overflow 32 bits");
    args.scale = curve.scale;
    args.offset = curve.offset;
    args.bias = optional_bias(bias, args.conv.geometry.out_channels);
    Tensor y = empty_output(x_bits, output_size(args.conv), ScalarType::Float);
    args.y = static_cast<float*>(y.mutable_data_ptr());
    run(args);
    return y;
}

inline void check_gradient(const Tensor& gy, const ConvGeometry& g) {
    check_dense(gy, "gy", ScalarType::Float, "float32");
    STD_TORCH_CHECK(gy.numel() == g.batch * g.out_channels * g.out_pixels(), "gy: needed the size of the output");
}

// The slopes and their bound, or none.
inline std::pair<const float*, int64_t> slopes_of(const std::optional<Tensor>& slopes, const BinaryConv& conv) {
    if (!slopes) return {nullptr, 0};
    check_dense(*slopes, "slopes", ScalarType::Float, "float32");
    const int64_t bound = (slopes->numel() - 1) / 2;
    const int64_t needed = largest_partial_sum(conv);
    STD_TORCH_CHECK(bound >= needed, "slopes: cover partial sums up to ", bound, "; needed ", needed);
    return {data_of<float>(*slopes), bound};
}

}  // namespace bnnkit::binding
