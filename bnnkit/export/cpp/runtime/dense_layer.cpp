#include "rounding.h"

#include "dense_layer.h"

namespace bnn {
namespace {

// Adds the products of one pixel's channels with the weights of kLanes outputs.
BNN_OWN_LOOP const float* add_products(const float* __restrict x, int channels, const float* __restrict w,
                                       double* __restrict to) {
    double sums[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] = to[lane];
    for (int c = 0; c < channels; ++c, w += kLanes) {
        const double value = x[c];
        for (int lane = 0; lane < kLanes; ++lane) sums[lane] += value * static_cast<double>(w[lane]);
    }
    for (int lane = 0; lane < kLanes; ++lane) to[lane] = sums[lane];
    return w;
}

void sum_pixel(const DenseLayer& l, const float* x, int row, int column, float* to) {
    const Kernel& k = l.kernel;
    const int top = row * k.stride_h - k.pad_h, left = column * k.stride_w - k.pad_w;
    const float* weights = l.weights;
    for (int first = 0; first < l.outputs; first += kLanes) {
        double sums[kLanes] = {};
        for (int ky = 0; ky < k.height; ++ky)
            for (int kx = 0; kx < k.width; ++kx) {
                const int py = top + ky, px = left + kx;
                if (py < 0 || px < 0 || py >= l.in.height || px >= l.in.width)
                    weights += l.in.channels * kLanes;
                else
                    weights = add_products(x + (py * l.in.width + px) * l.in.channels, l.in.channels, weights, sums);
            }
        for (int lane = 0; lane < kLanes && first + lane < l.outputs; ++lane) {
            const double bias = l.bias ? l.bias[first + lane] : 0.0;
            to[first + lane] = static_cast<float>(sums[lane] + bias);
        }
    }
}

}  // namespace

void run(const DenseLayer& l, const float* x, const Finish& finish, const Output<float>& out, const Scratch& s) {
    const auto values_at = [&](int row, int column, float* v) { sum_pixel(l, x, row, column, v); };
    for_each_pixel(finish.out, [&](int pixel, int row, int column) {
        finish_values(finish, pooled(finish, row, column, s.floats, values_at), pixel, out);
    });
}

void run(const DenseLayer& l, const float* x, const IntegerFinish& finish, const Output<int32_t>& out,
         const Scratch& s) {
    for_each_pixel(finish.out, [&](int pixel, int row, int column) {
        sum_pixel(l, x, row, column, s.floats);
        to_integers(finish, s.floats, s.integers);
        finish_integers(finish, s.integers, pixel, out);
    });
}

}  // namespace bnn
