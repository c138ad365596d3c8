// adc: convolution whose reduction is cut into arrays, each array's partial sum passing through an analog-digital converter.
//
//   ps[s]  = sum over the rows of array s of x * w                      (integers; padded taps contribute 0)
//   y      = scale * sum over s of level[#{j: ps[s] >= threshold[j]}] + offset * arrays + bias
//
// Partial sums live in registers and are never stored. The sum of integer levels is exact, whatever the variant, the number
// of threads or the batch; y follows from it in double, rounded once.
//
// The backward pass recomputes the partial sums from the same bits:
//   g[s]  = gy * slope(ps[s])         gx += g[s] * w[s]         gw[s] += x[s] * g[s]
// in float32, in an order that does not depend on the number of threads.
#pragma once

#include <cstddef>

#include "../../core/binary_conv.h"
#include "../../core/cuda/device.h"

namespace bnnkit {

constexpr int kMaxLevels = 65536;

struct AdcArgs {
    BinaryConv conv;
    const int32_t* thresholds = nullptr;  // [levels - 1], ascending, in units of the integer partial sum
    const int32_t* levels = nullptr;      // [level_count]
    int level_count = 2;
    double scale = 1, offset = 0;
    const float* bias = nullptr;  // [out_channels], or none
    float* y = nullptr;           // [batch][out_channels][out_height][out_width]
};

struct AdcBackwardArgs {
    BinaryConv conv;
    const float* slopes = nullptr;  // d y / d ps at ps = index - slope_bound, [2 * slope_bound + 1]; none: 1 everywhere
    int64_t slope_bound = 0;
    float x_unit = 1, w_unit = 1;  // value of one integer unit of x, of w
    const float* gy = nullptr;     // [batch][out_channels][out_height][out_width]
    float* gx = nullptr;           // [batch][channels][height][width]
    float* gw = nullptr;           // [out_channels][group_channels][kernel_h][kernel_w]
};

// Whether there is no offset and scale * sum is an integer below 2^24 for every |sum| <= largest: exact in float32.
bool exact_in_float(double scale, double offset, int64_t largest);
int64_t largest_magnitude(const int32_t* levels, size_t count);
// Largest magnitude of a partial sum: every row of the fullest array at the largest product.
int64_t largest_partial_sum(const BinaryConv& conv);

void adc(const AdcArgs& args);
void adc_backward(const AdcBackwardArgs& args);

void adc_reference(const AdcArgs& args);
void adc_neon(const AdcArgs& args);
void adc_avx2(const AdcArgs& args);
void adc_bytes_avx2(const AdcArgs& args);  // by products of bytes, for avx2
void adc_avx512(const AdcArgs& args);
void adc_vnni(const AdcArgs& args);  // by products of bytes, for avx512
void adc_amx(const AdcArgs& args);

// The two algorithms of avx2 and avx512 for few planes: counting_engine.h and vertical_engine.h.
void adc_avx2_by_counting(const AdcArgs& args);
void adc_avx512_by_counting(const AdcArgs& args);
bool adc_avx2_vertically(const AdcArgs& args);  // of args that count_vertically; false: too many border patterns
bool adc_avx512_vertically(const AdcArgs& args);
constexpr int kMostVerticalDigits = 16;  // of a partial sum, and of the codes of an output
constexpr int64_t kMostBorderPatterns = 16;
// One plane on each side, and levels equally spaced.
bool counts_vertically(const AdcArgs& args);

// Turning patches, listing rows and limits and finishing sums take time that many outputs and patches share; every threshold is
// compared with on its own.
struct VerticalAdcMinimum {
    int64_t patches;  // per threshold
    int64_t outputs = 8;
    int thresholds = 3;  // at most

    bool reached_by(const AdcArgs& args) const {
        const ConvGeometry& g = args.conv.geometry;
        const int here = args.level_count - 1;
        return counts_vertically(args) && here <= thresholds && g.group_outputs() >= outputs &&
               g.batch * g.out_pixels() >= patches * here;
    }
};
constexpr VerticalAdcMinimum kVerticalAdcAvx2{512}, kVerticalAdcAvx512{1024};

void adc_backward_reference(const AdcBackwardArgs& args);
void adc_backward_neon(const AdcBackwardArgs& args);
void adc_backward_avx2(const AdcBackwardArgs& args);
void adc_backward_avx512(const AdcBackwardArgs& args);
void adc_backward_amx(const AdcBackwardArgs& args);

// Pointers are the device's, but for thresholds and levels, which the host reads.
void adc_cuda(const AdcArgs& args, const Device& device);
int64_t adc_cuda_workspace(const AdcArgs& args);

}  // namespace bnnkit
