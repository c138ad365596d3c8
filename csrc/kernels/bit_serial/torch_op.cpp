#include "../../python/tensor_args.h"
#include "bit_serial.h"

namespace bnnkit::binding {
namespace {

// Either planes [planes, out_channels, bytes] uint8 or numbers [slices, out_channels, rows] int16.
void set_cells(BitSerialArgs& args, const Tensor& cells, const Ints& slice_planes, const Ints& plane_weights,
               const Ints& dummies, std::vector<int32_t>& weights) {
    const ArrayLayout& layout = args.conv.layout;
    const auto slices = static_cast<int64_t>(slice_planes.size());
    STD_TORCH_CHECK(slices >= 1 && slices <= kMaxSlices, "slice_planes: needed 1 to ", kMaxSlices, " slices");
    STD_TORCH_CHECK(cells.dim() == 3, "cells: needed three dimensions");
    args.slices = static_cast<int>(slices);
    if (cells.scalar_type() == ScalarType::Short) {
        check_dense(cells, "cells", ScalarType::Short, "int16");
        STD_TORCH_CHECK(cells.size(0) == slices && cells.size(2) == layout.row_words() * kWordBits, "cells: needed [",
                        slices, ", out_channels, ", layout.row_words() * kWordBits, "]");
        args.cells = data_of<int16_t>(cells);
        return;
    }
    args.planes = words_of(cells, "cells");
    int64_t planes = 0, reach = 0;
    STD_TORCH_CHECK(static_cast<int64_t>(dummies.size()) == slices, "dummies: needed one per slice");
    for (int64_t c = 0; c < slices; ++c) {
        STD_TORCH_CHECK(slice_planes[c] >= 1 && planes + slice_planes[c] <= static_cast<int64_t>(plane_weights.size()),
                        "plane_weights: needed one per plane");
        args.slice_planes[c] = static_cast<int>(slice_planes[c]);
        args.dummy[c] = static_cast<int32_t>(dummies[c]);
        int64_t sum = dummies[c] < 0 ? -dummies[c] : dummies[c];
        for (int64_t p = planes; p < planes + slice_planes[c]; ++p)
            sum += plane_weights[p] < 0 ? -plane_weights[p] : plane_weights[p];
        reach = std::max(reach, sum);
        planes += slice_planes[c];
    }
    STD_TORCH_CHECK(cells.size(0) == planes && cells.size(2) == layout.row_words() * 8, "cells: needed [", planes,
                    ", out_channels, ", layout.row_words() * 8, "]");
    const int64_t rows = layout.channels_per_array * (layout.tap ? 1 : layout.taps);
    STD_TORCH_CHECK(reach * rows <= kMaxPartialSum, "cells: partial sums up to ", reach * rows, "; at most ",
                    kMaxPartialSum, " fit");
    weights.assign(plane_weights.begin(), plane_weights.end());
    args.plane_weight = weights.data();
}

void set_conversion(BitSerialArgs& args, const std::optional<Tensor>& codes, int64_t low,
                    const std::optional<Tensor>& gain, const std::optional<Tensor>& shift, double top,
                    const Tensor& factor, const Tensor& base) {
    check_dense(factor, "factor", ScalarType::Double, "float64");
    check_dense(base, "base", ScalarType::Double, "float64");
    STD_TORCH_CHECK(factor.dim() == 3 && factor.size(1) == args.slices &&
                        (factor.size(0) == 1 || factor.size(0) == args.conv.x_planes),
                    "factor: needed [1 or ", args.conv.x_planes, ", ", args.slices, ", converters]");
    args.converter_bits = static_cast<int>(factor.size(0));
    args.converters = factor.size(2);
    const int64_t pairs = args.pairs();
    STD_TORCH_CHECK(args.converters == 1 || args.converters == args.conv.geometry.out_channels,
                    "factor: needed one converter or one per output channel");
    STD_TORCH_CHECK(base.numel() == args.converters, "base: needed one value per converter");
    args.factor = data_of<double>(factor);
    args.base = data_of<double>(base);
    args.conversion = Conversion::none;
    if (gain) {
        STD_TORCH_CHECK(shift.has_value(), "shift: needed with gain");
        check_dense(*gain, "gain", ScalarType::Float, "float32");
        check_dense(*shift, "shift", ScalarType::Float, "float32");
        STD_TORCH_CHECK(gain->numel() == pairs * args.converters && shift->numel() == pairs * args.converters,
                        "gain, shift: needed the shape of factor");
        STD_TORCH_CHECK(top >= 1 && top <= 255, "top: needed 1 to 255");
        args.conversion = Conversion::affine;
        args.gain = data_of<float>(*gain);
        args.shift = data_of<float>(*shift);
        args.top = static_cast<float>(top);
    } else if (codes) {
        check_dense(*codes, "codes", ScalarType::Byte, "uint8");
        STD_TORCH_CHECK(codes->dim() == 2 && codes->size(0) == pairs && codes->size(1) >= 1, "codes: needed [", pairs,
                        ", partial sums]");
        args.conversion = Conversion::table;
        args.codes = data_of<uint8_t>(*codes);
        args.low = low;
        args.high = low + codes->size(1) - 1;
    }
}

void set_noise(BitSerialArgs& args, const std::optional<Tensor>& amplitude, const std::optional<Tensor>& normal,
               int64_t seed, int64_t first_image) {
    if (!amplitude) return;
    STD_TORCH_CHECK(args.cells, "noise_amplitude: needed int16 cells");
    STD_TORCH_CHECK(normal.has_value(), "noise_normal: needed with noise_amplitude");
    check_dense(*amplitude, "noise_amplitude", ScalarType::Int, "int32");
    check_dense(*normal, "noise_normal", ScalarType::Short, "int16");
    STD_TORCH_CHECK(amplitude->numel() > args.conv.layout.array_words() * kWordBits,
                    "noise_amplitude: needed one value per number of active rows");
    STD_TORCH_CHECK(normal->numel() == 4096, "noise_normal: needed 4096 quantiles");
    args.noise = {data_of<int32_t>(*amplitude), data_of<int16_t>(*normal), static_cast<uint64_t>(seed), first_image};
}

Tensor bit_serial_conv2d(Tensor x_bits, Tensor cells, Ints slice_planes, Ints plane_weights, Ints dummies,
                         std::optional<Tensor> codes, int64_t low, std::optional<Tensor> gain,
                         std::optional<Tensor> shift, double top, Tensor factor, Tensor base, double scale,
                         std::optional<Tensor> bias, std::optional<Tensor> noise_amplitude,
                         std::optional<Tensor> noise_normal, int64_t noise_seed, int64_t first_image, int64_t channels,
                         Ints kernel, Ints stride, Ints padding, Ints dilation, int64_t channels_per_array, bool tap) {
    STD_TORCH_CHECK(cells.dim() == 3, "cells: needed three dimensions");
    BitSerialArgs args;
    args.conv =
        input_conv(x_bits, cells.size(1), {channels, kernel, stride, padding, dilation, 1, channels_per_array, tap});
    STD_TORCH_CHECK(args.conv.x_planes >= 1 && args.conv.x_planes <= kMaxInputBits, "x_bits: needed 1 to ",
                    kMaxInputBits, " planes");
    std::vector<int32_t> weights;
    set_cells(args, cells, slice_planes, plane_weights, dummies, weights);
    set_conversion(args, codes, low, gain, shift, top, factor, base);
    set_noise(args, noise_amplitude, noise_normal, noise_seed, first_image);
    args.scale = scale;
    args.bias = optional_bias(bias, args.conv.geometry.out_channels);
    Tensor y = empty_output(x_bits, output_size(args.conv), ScalarType::Float);
    args.y = static_cast<float*>(y.mutable_data_ptr());
    bit_serial(args);
    return y;
}

// int64 [x_planes * slices, columns, high - low + 1]
Tensor bit_serial_histogram(Tensor x_bits, Tensor cells, Ints slice_planes, Ints plane_weights, Ints dummies,
                            int64_t low, int64_t high, bool by_column, std::optional<Tensor> noise_amplitude,
                            std::optional<Tensor> noise_normal, int64_t noise_seed, int64_t first_image,
                            int64_t channels, Ints kernel, Ints stride, Ints padding, Ints dilation,
                            int64_t channels_per_array, bool tap) {
    STD_TORCH_CHECK(cells.dim() == 3, "cells: needed three dimensions");
    BitSerialArgs args;
    args.conv =
        input_conv(x_bits, cells.size(1), {channels, kernel, stride, padding, dilation, 1, channels_per_array, tap});
    args.conv.threads.count = 1;
    STD_TORCH_CHECK(args.conv.x_planes >= 1 && args.conv.x_planes <= kMaxInputBits, "x_bits: needed 1 to ",
                    kMaxInputBits, " planes");
    std::vector<int32_t> weights;
    set_cells(args, cells, slice_planes, plane_weights, dummies, weights);
    set_noise(args, noise_amplitude, noise_normal, noise_seed, first_image);
    STD_TORCH_CHECK(low <= high && high - low < (1 << 20), "low, high: needed an ascending range below 2^20");
    args.low = low;
    args.high = high;
    args.histogram_columns = by_column ? args.conv.geometry.out_channels : 1;
    Tensor counts = torch::stable::new_zeros(
        x_bits, {int64_t{args.conv.x_planes} * args.slices, args.histogram_columns, high - low + 1}, ScalarType::Long);
    args.histogram = static_cast<int64_t*>(counts.mutable_data_ptr());
    bit_serial(args);
    return counts;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) {
    m.impl("bit_serial_conv2d", TORCH_BOX(&bit_serial_conv2d));
    m.impl("bit_serial_histogram", TORCH_BOX(&bit_serial_histogram));
}

}  // namespace bnnkit::binding
