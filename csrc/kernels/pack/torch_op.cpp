#include "tensors.h"

namespace bnnkit::binding {
namespace {

void run(PackArgs& args, const char* name) {
    bool has_nan = false;
    args.has_nan = &has_nan;
    pack(args);
    STD_TORCH_CHECK(!has_nan, name, ": contains NaN, which has no sign; needed numbers");
}

Tensor pack_pixels(Tensor x, Doubles thresholds, bool strict, int64_t planes, bool thermometer, int64_t groups,
                   int64_t channels_per_array) {
    return pack_pixels_by([](PackArgs& args) { run(args, "x"); }, x, thresholds, strict, planes, thermometer, groups,
                          channels_per_array);
}

Tensor pack_kernels(Tensor w, Doubles thresholds, bool strict, int64_t planes, bool thermometer,
                    int64_t channels_per_array, bool tap) {
    const auto work = [](PackArgs& args, const ConvGeometry& g, const ArrayLayout& layout, uint64_t* out) {
        std::vector<uint64_t> pixels(static_cast<size_t>(args.planes * args.plane_words()));
        args.out = pixels.data();
        run(args, "w");
        arrange_kernels(pixels.data(), args.planes, g, layout, out);
    };
    return pack_kernels_by(work, w, thresholds, strict, planes, thermometer, channels_per_array, tap);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CPU, m) {
    m.impl("pack_pixels", TORCH_BOX(&pack_pixels));
    m.impl("pack_kernels", TORCH_BOX(&pack_kernels));
}

}  // namespace bnnkit::binding
