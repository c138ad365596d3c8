// The pack ops on any device: checks, and the kernel's arguments.
#pragma once

#include <algorithm>

#include "../../python/tensor_args.h"
#include "pack.h"

namespace bnnkit::binding {

using Doubles = std::vector<double>;

inline void set_levels(PackArgs& args, const Doubles& thresholds, bool strict, int64_t planes, bool thermometer) {
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

// x: [batch, channels, height, width] or [batch, channels], dense in either memory format.
template <class Run>
Tensor pack_pixels_by(const Run& run, const Tensor& x, const Doubles& thresholds, bool strict, int64_t planes,
                      bool thermometer, int64_t groups, int64_t channels_per_array) {
    STD_TORCH_CHECK(lies_here(x) && x.scalar_type() == ScalarType::Float, "x: needed a float32 ", kDeviceName,
                    " tensor");
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
    Tensor out = empty_output(x, size, ScalarType::Byte);
    args.out = static_cast<uint64_t*>(out.mutable_data_ptr());
    run(args);
    return out;
}

// w: [out_channels, channels, kernel_h, kernel_w] or [out_features, in_features], contiguous; channels of one group.
// `pack_and_arrange(args, geometry, layout, out)` is the work: args has all but where the pixels go.
template <class PackAndArrange>
Tensor pack_kernels_by(const PackAndArrange& pack_and_arrange, const Tensor& w, const Doubles& thresholds, bool strict,
                       int64_t planes, bool thermometer, int64_t channels_per_array, bool tap) {
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
    Tensor out = empty_output(w, {planes, g.out_channels, layout.row_words() * 8}, ScalarType::Byte);
    pack_and_arrange(args, g, layout, static_cast<uint64_t*>(out.mutable_data_ptr()));
    return out;
}

}  // namespace bnnkit::binding
