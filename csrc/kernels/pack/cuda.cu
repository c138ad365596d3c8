#include "../../core/cuda/patch_word.h"
#include "pack.h"

#include <new>

namespace bnnkit {
namespace {

__device__ int code_of(const PackArgs& a, float value) {
    int code = 0;
    for (int j = 0; j < a.threshold_count; ++j) code += a.strict ? value > a.thresholds[j] : value >= a.thresholds[j];
    return code;
}

// A thread fills one word of every plane. Neighbouring threads read neighbouring floats: pixels, or the words of a pixel.
__global__ void pack_words(PackArgs a) {
    const int64_t words = a.pixel_words(), slot_words = a.slot_words(), per_group = a.group_channels();
    for_each_item(a.batch * a.pixels * words, [&](int64_t item) {
        const int64_t image = item / (a.pixels * words), within = item % (a.pixels * words);
        const int64_t word = a.channels_last ? within % words : within / a.pixels;
        const int64_t pixel = a.channels_last ? within / words : within % a.pixels;
        const int64_t slot = word / slot_words, group = slot / a.chunks(), chunk = slot % a.chunks();
        const int64_t first = chunk * a.channels_per_array + word % slot_words * kWordBits;  // channel of the group
        const int64_t end = std::min(per_group, (chunk + 1) * a.channels_per_array);
        const int64_t count = std::max(std::min(end - first, int64_t{kWordBits}), int64_t{0});
        uint64_t planes[kMaxPlanes] = {};
        for (int64_t bit = 0; bit < count; ++bit) {
            const int64_t channel = group * per_group + first + bit;
            const float value = a.channels_last ? a.x[(image * a.pixels + pixel) * a.channels + channel]
                                                : a.x[(image * a.channels + channel) * a.pixels + pixel];
            if (isnan(value)) *a.has_nan = true;
            const int code = code_of(a, value);
#pragma unroll
            for (int p = 0; p < kMaxPlanes; ++p) {
                const bool set = a.thermometer ? code > p : (code >> p) & 1;
                planes[p] |= uint64_t{set} << bit;
            }
        }
#pragma unroll
        for (int p = 0; p < kMaxPlanes; ++p)
            if (p < a.planes) a.out[p * a.plane_words() + (image * a.pixels + pixel) * words + word] = planes[p];
    });
}

// Every kernel is an image whose only patch is itself.
__global__ void arrange_words(BinaryConv kernels, int planes, uint64_t* out) {
    const int64_t array_words = kernels.layout.array_words(), row_words = kernels.layout.row_words();
    for_each_item(planes * kernels.geometry.batch * row_words, [&](int64_t item) {
        const int64_t word = item % row_words, output = item / row_words % kernels.geometry.batch;
        const auto plane = static_cast<int>(item / row_words / kernels.geometry.batch);
        out[item] = patch_word(kernels, plane, {output, 0, 0}, 0, word / array_words, word % array_words).bits;
    });
}

}  // namespace

bool* noted_nan_cuda() {
    static bool* const noted = new (host_memory(sizeof(bool))) bool(false);
    return noted;
}

void pack_cuda(const PackArgs& args, const Device& device) {
    launch(pack_words, blocks_for(args.batch * args.pixels * args.pixel_words()), kThreads, 0, device.stream, args);
}

void arrange_kernels_cuda(const uint64_t* pixels, int planes, const ConvGeometry& geometry, const ArrayLayout& layout,
                          uint64_t* out, const Device& device) {
    BinaryConv kernels;
    kernels.geometry.batch = geometry.out_channels;
    kernels.geometry.channels = layout.channels;
    kernels.geometry.height = kernels.geometry.kernel_h = geometry.kernel_h;
    kernels.geometry.width = kernels.geometry.kernel_w = geometry.kernel_w;
    kernels.layout = layout;
    kernels.x = pixels;
    kernels.x_planes = planes;
    launch(arrange_words, blocks_for(planes * geometry.out_channels * layout.row_words()), kThreads, 0, device.stream,
           kernels, planes, out);
}

}  // namespace bnnkit
