#include "../../core/bit_lanes_plain.h"
#include "../../core/gather.h"
#include "../../core/variant.h"
#include "pack.h"

namespace bnnkit {

void pack(const PackArgs& args) {
    static constexpr Variant<PackArgs> variants[] = {
#if defined(__x86_64__)
        {Isa::avx512, pack_avx512},
        {Isa::avx2, pack_avx2},
#elif defined(__aarch64__)
        {Isa::neon, pack_neon},
#endif
        {Isa::reference, pack_reference},
    };
    dispatch(Kernel::pack, variants, args);
}

void arrange_kernels(const uint64_t* pixels, int planes, const ConvGeometry& geometry, const ArrayLayout& layout,
                     uint64_t* out) {
    ConvGeometry one = geometry;  // every kernel is an image whose only patch is itself
    one.batch = geometry.out_channels;
    one.channels = layout.channels;
    one.height = geometry.kernel_h;
    one.width = geometry.kernel_w;
    one.stride_h = one.stride_w = one.dilation_h = one.dilation_w = one.groups = 1;
    one.pad_h = one.pad_w = 0;
    const Gatherer gatherer(one, layout);
    const int64_t plane_words = one.batch * layout.taps * layout.pixel_words(), row_words = layout.row_words();
    Scratch row((row_words + kGatherSlack) * static_cast<int64_t>(sizeof(uint64_t)));
    for (int p = 0; p < planes; ++p) {
        const uint64_t* plane = pixels + p * plane_words;
        for (int64_t output = 0; output < one.batch; ++output, out += row_words) {
            gatherer.gather(plane, layout.pixel_words(), plane + plane_words - 1, output, 1,
                            reinterpret_cast<uint64_t*>(row.data));
            memcpy(out, row.data, static_cast<size_t>(row_words) * sizeof(uint64_t));
        }
    }
}

}  // namespace bnnkit
