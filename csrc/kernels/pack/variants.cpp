#include "../../core/gather.h"
#include "../../core/variant.h"
#include "pack.h"

namespace bnnkit {

void pack(const PackArgs& args) {
    static constexpr Variant<PackArgs> variants[] = {
#if defined(__x86_64__)
        {Isa::avx512, pack_avx512},
        {Isa::avx2, pack_avx2},
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
    for (int p = 0; p < planes; ++p) {
        const int64_t plane = p * one.batch * layout.taps * layout.pixel_words();
        const PatchSource source{&one, &layout, pixels + plane, layout.pixel_words()};
        gather_patches(source, 0, one.batch, out + p * one.batch * layout.row_words());
    }
}

}  // namespace bnnkit
