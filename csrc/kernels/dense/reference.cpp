#include "dense.h"

namespace bnnkit {

void dense_reference(const DenseArgs& a) {
    const ConvGeometry& g = a.geometry;
    float* y = a.y;
    for (int64_t n = 0; n < g.batch; ++n)
        for (int64_t o = 0; o < g.out_channels; ++o)
            for (int64_t row = 0; row < g.out_height(); ++row)
                for (int64_t column = 0; column < g.out_width(); ++column) {
                    double sum = 0;
                    for (int64_t ky = 0; ky < g.kernel_h; ++ky)
                        for (int64_t kx = 0; kx < g.kernel_w; ++kx)
                            for (int64_t c = 0; c < g.channels; ++c) {
                                const int64_t in_row = row * g.stride_h + ky - g.pad_h;
                                const int64_t in_column = column * g.stride_w + kx - g.pad_w;
                                if (in_row < 0 || in_row >= g.height || in_column < 0 || in_column >= g.width) continue;
                                const double x = a.x[((n * g.channels + c) * g.height + in_row) * g.width + in_column];
                                const double w = a.w[((o * g.channels + c) * g.kernel_h + ky) * g.kernel_w + kx];
                                sum += x * w;
                            }
                    if (a.bias) sum += static_cast<double>(a.bias[o]);
                    *y++ = static_cast<float>(sum);
                }
}

}  // namespace bnnkit
