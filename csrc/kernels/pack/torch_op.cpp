#include <algorithm>

#include "../../python/tensor_args.h"
#include "pack.h"

namespace bnnkit::binding {
namespace {

using Doubles = std::vector<double>;

void set_levels(PackArgs& args, const Doubles& thresholds, bool strict, int64_t planes, bool thermometer) {
    const auto count = static_cast<int64_t>(thresholds.size());
    STD_TORCH_CHECK(planes >= 1 && planes <= kMaxPlanes, "planes: ", planes, "; needed 1 to ", kMaxPlanes);
    STD_TORCH_CHECK(count >= 1 && count <= (thermometer ? planes : (int64_t{1} << planes) - 1), "thresholds: ", count,
                    " do not fit ", planes, " planes");
    STD_TORCH_CHECK(std::is_sorted(thresholds.begin(), thresholds.end()), "thresholds: must ascend");
    for (int64_t j = 0; j < count; ++j) args.thresholds[j] = static_cast<float>(thresholds[j]);
    args.threshold_count = static_cast<int>(count);
    args.strict = strict;
    args.planes = static_cast<int>(planes);
    args.thermometer = thermometer;
    args.threads = torch_threads();
}

void run(PackArgs& args, const char* name) {
    bool has_nan = false;
    args.has_nan = &has_nan;
    pack(args);
    STD_TORCH_CHECK(!has_nan, name, ": contains NaN, which has no sign; needed numbers");
}

// x: [batch, channels, height, width] or [batch, channels], dense in either memory format.
Tensor pack_pixels(Tensor x, Doubles thresholds, bool strict, int64_t planes, bool thermometer, int64_t groups,
                   int64_t channels_per_array) {
    STD_TORCH_CHECK(x.is_cpu() && x.scalar_type() == ScalarType::Float, "x: needed a float32 CPU tensor");
    STD_TORCH_CHECK(x.dim() == 4 || x.dim() == 2, "x: needed [batch, channels, height, width] or [batch, channels]");
    PackArgs args;
    const int64_t height = x.dim() == 4 ? x.size(2) : 1, width = x.dim() == 4 ? x.size(3) : 1;
    args.batch = x.size(0);
    args.channels = x.size(1);
    args.pixels = height * width;
    args.channels_last = !x.is_contiguous();
    STD_TORCH_CHECK(!args.channels_last || (x.dim() == 4 && x.stride(1) == 1 && x.stride(3) == args.channels &&
                                            x.stride(2) == width * args.channels &&
                                            (args.batch == 1 || x.stride(0) == args.pixels * args.channels)),
                    "x: needed a contiguous or channels-last tensor");
    STD_TORCH_CHECK(groups > 0 && args.channels % groups == 0, "groups: must divide the channels");
    STD_TORCH_CHECK(channels_per_array > 0, "channels_per_array: must be positive");
    args.x = data_of<float>(x);
    args.groups = groups;
    args.channels_per_array = channels_per_array;
    set_levels(args, thresholds, strict, planes, thermometer);
    Ints size = {planes, args.batch};
    if (x.dim() == 4) size.insert(size.end(), {height, width});
    size.push_back(args.pixel_words() * 8);
    Tensor out = empty_output(size, ScalarType::Byte);
    args.out = static_cast<uint64_t*>(out.mutable_data_ptr());
    run(args, "x");
    return out;
}

// w: [out_channels, channels, kernel_h, kernel_w] or [out_features, in_features], contiguous; channels of one group.
Tensor pack_kernels(Tensor w, Doubles thresholds, bool strict, int64_t planes, bool thermometer,
                    int64_t channels_per_array, bool tap) {
    check_dense(w, "w", ScalarType::Float, "float32");
    STD_TORCH_CHECK(w.dim() == 4 || w.dim() == 2, "w: needed [out, in, height, width] or [out, in]");
    STD_TORCH_CHECK(channels_per_array > 0, "channels_per_array: must be positive");
    ConvGeometry g;
    g.out_channels = w.size(0);
    g.channels = w.size(1);
    g.kernel_h = w.dim() == 4 ? w.size(2) : 1;
    g.kernel_w = w.dim() == 4 ? w.size(3) : 1;
    STD_TORCH_CHECK(g.taps() <= kMaxTaps, "w: more than ", kMaxTaps, " taps");
    const ArrayLayout layout = layout_of(g, channels_per_array, tap);
    PackArgs args;
    args.x = data_of<float>(w);
    args.batch = g.out_channels;
    args.channels = g.channels;
    args.pixels = g.taps();
    args.channels_per_array = channels_per_array;
    set_levels(args, thresholds, strict, planes, thermometer);
    std::vector<uint64_t> pixels(static_cast<size_t>(planes * args.plane_words()));
    args.out = pixels.data();
    run(args, "w");
    Tensor out = empty_output({planes, g.out_channels, layout.row_words() * 8}, ScalarType::Byte);
    arrange_kernels(pixels.data(), args.planes, g, layout, static_cast<uint64_t*>(out.mutable_data_ptr()));
    return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) {
    m.impl("pack_pixels", TORCH_BOX(&pack_pixels));
    m.impl("pack_kernels", TORCH_BOX(&pack_kernels));
}

}  // namespace bnnkit::binding
