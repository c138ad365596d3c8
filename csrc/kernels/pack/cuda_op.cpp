#include "../../python/on_device.h"
#include "tensors.h"

namespace bnnkit::binding {
namespace {

// Waiting for a kernel's answer would cost every layer of every step a synchronization. A NaN is therefore noted in memory
// of the host, and the next call that sees the note reports it.
void run(PackArgs& args, const Device& device) {
    volatile bool* const noted = noted_nan_cuda();
    if (*noted) {
        *noted = false;
        STD_TORCH_CHECK(false, "x, w: an earlier call packed NaN, which has no sign; needed numbers");
    }
    args.has_nan = noted_nan_cuda();
    pack_cuda(args, device);
}

Tensor pack_pixels(Tensor x, Doubles thresholds, bool strict, int64_t planes, bool thermometer, int64_t groups,
                   int64_t channels_per_array) {
    const OnDevice device(x);
    const auto work = [&](PackArgs& args) { device.run(Kernel::pack, 0, [&](const Device& d) { run(args, d); }); };
    return pack_pixels_by(work, x, thresholds, strict, planes, thermometer, groups, channels_per_array);
}

Tensor pack_kernels(Tensor w, Doubles thresholds, bool strict, int64_t planes, bool thermometer,
                    int64_t channels_per_array, bool tap) {
    const OnDevice device(w);
    const auto work = [&](PackArgs& args, const ConvGeometry& g, const ArrayLayout& layout, uint64_t* out) {
        const int64_t bytes = args.planes * args.plane_words() * static_cast<int64_t>(sizeof(uint64_t));
        device.run(Kernel::pack, bytes, [&](const Device& d) {
            args.out = static_cast<uint64_t*>(d.workspace);
            run(args, d);
            arrange_kernels_cuda(args.out, args.planes, g, layout, out, d);
        });
    };
    return pack_kernels_by(work, w, thresholds, strict, planes, thermometer, channels_per_array, tap);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bnnkit, CUDA, m) {
    m.impl("pack_pixels", TORCH_BOX(&pack_pixels));
    m.impl("pack_kernels", TORCH_BOX(&pack_kernels));
}

}  // namespace bnnkit::binding
