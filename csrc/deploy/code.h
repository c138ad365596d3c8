// What one instruction set offers to packed networks, as plain functions on plain data.
#pragma once

#include "../core/panels.h"
#include "../core/patches.h"
#include "../core/variant.h"
#include "../kernels/adc/count_converter.h"
#include "../kernels/adc/sum_converter.h"
#include "abreast.h"
#include "faults.h"
#include "step.h"
#include "vertical_plan.h"

namespace bnnkit::deploy {

// A `Finish` with its pointers resolved for one call.
struct IntegerFinishing {
    int digits = 0, lift = 0;
    int64_t padded_channels = 0;  // of one digit
    const int32_t *shifts = nullptr, *negative = nullptr, *mask = nullptr;
    const int32_t *bias_in = nullptr, *right = nullptr, *left = nullptr, *bias_out = nullptr;
    const int32_t* thresholds = nullptr;
    const int32_t* residual = nullptr;
    int32_t* values = nullptr;
};

struct Finishing {
    const float *inner_scale = nullptr, *inner_shift = nullptr;  // of the activation
    const float *bias_in = nullptr, *slope = nullptr, *bias_out = nullptr;
    const float* residual = nullptr;
    const float *scale = nullptr, *shift = nullptr;
    bool clamp = false;
    float* floats = nullptr;
    int64_t stride = 0;  // floats per pixel, of residual and floats
    int64_t channels = 0;
    uint64_t* bits[kMaxPlanes] = {};
    int64_t words = 0;  // per pixel
    int planes = 0, threshold_count = 0;
    bool thermometer = false, strict = true;
    float thresholds[kMaxThresholds] = {};
    const int32_t *sum_thresholds = nullptr, *flip = nullptr;  // flip: -1 where the direction is negative, else 0
    int64_t padded_channels = 0;                               // of both
    IntegerFinishing integers;
    Abreast abreast{};   // or channels of a pixel lie together
    int64_t pixels = 0;  // of an image; read where images are abreast
};

// A convolution of integer values with binary weights, one pixel to one pixel: sums of values with signs.
struct SignedSums {
    int64_t channels = 0, outputs = 0, in_stride = 0;
    int drop = 0;  // bits dropped from each value before
    // [panel of kPanelChannels outputs][channel][kPanelChannels]: -1 where positive, else 0
    const int32_t* masks = nullptr;
    // The positive ones again: 16 * channel, of output o from positive_end[o] to positive_end[o + 1].
    const int32_t *positive = nullptr, *positive_end = nullptr;
};

// Where a precision gate opens: sums of high bits >= threshold, padded to kPanelChannels.
struct GatePlan {
    const int32_t* thresholds = nullptr;
    bool skips = false;  // count low bits only where one of a few outputs needs them, instead of always
};

struct DenseConv {
    ConvGeometry geometry;
    int64_t in_stride = 0;            // floats per input pixel
    const double* weights = nullptr;  // [panel of kPanelChannels outputs][tap][channel][kPanelChannels]
    const double* bias = nullptr;     // padded to kPanelChannels
};

// How sums of an array convolution become values: scale * sum + base + bias in double, rounded once.
struct SumScale {
    double scale = 1, base = 0;
    const float* bias = nullptr;  // padded to kPanelChannels, or none
    bool in_float = false;        // the product is exact in float32 and base is 0
    // sum * high + sum * low in float32 gives the same for every sum there can be; there is neither base nor bias.
    bool in_two_floats = false;
    float high = 0, low = 0;
};

// Converters with faults, see faulty_engine.h; tables [arrays][padded_outputs] or none, fixed point with kFractionBits.
struct FaultyPlan {
    const int64_t* thresholds = nullptr;  // [level_count - 1]
    const int32_t* levels = nullptr;
    int level_count = 0, bits = 0;  // of a code
    const int32_t* gain = nullptr;
    const int64_t* offset = nullptr;
    const int64_t* noise = nullptr;  // [kQuantiles]
    const int32_t* stuck = nullptr;
    int64_t padded_outputs = 0;
    uint32_t noise_state = 0;
    BitFaults bit_faults;
};

// What stays of an array convolution from call to call.
struct ArrayPlan {
    const BinaryConv& conv;  // without operands
    const BorderClasses& borders;
    const Panels& panels;
    const CountConverter* converter;        // none: plain sums
    GatePlan gate;                          // or none
    const FaultyPlan* faults = nullptr;     // or none; it converts, instead of the converter
    const SumConverter* of_sums = nullptr;  // or none; likewise, for products of bytes
};

struct ArrayInput {
    const uint64_t* x;
    int64_t images;
    const int64_t* numbers = nullptr;  // of the images within their data set; read where there are faults
};

// The same, counted for up to kMostVerticalImages at a time, which are abreast on both sides; without faults.
struct VerticalArray {
    const VerticalLists& lists;
    bool gated = false;  // the codes of the lists say where gates open
    bool integers = false;
};

class ArrayCode {
public:
    virtual ~ArrayCode() = default;
    virtual int64_t scratch_bytes() const = 0;
    virtual void run(const ArrayInput& input, const SumScale& scale, const Finishing& finishing,
                     unsigned char* scratch) const = 0;
    virtual Gates take_gates() const { return {}; }
    virtual Hits take_hits() const { return {}; }
};

// Nothing here owns memory of the standard library: instruction-set regions must not instantiate its templates.
struct Code {
    Isa isa;
    int64_t panel_columns;
    int converter_shift;
    bool converter_has_lookup;
    // Pairs of planes times outputs from which on a converter may be one of sums, without lookups; 0: never.
    int64_t products_by_bytes;
    ArrayCode* (*new_array)(const ArrayPlan& plan);
    ArrayCode* (*new_integer_array)(const ArrayPlan& plan);  // finishing by integers
    ArrayCode* (*new_gated_array)(const ArrayPlan& plan);
    int64_t vertical_columns;  // of a pattern, see vertical_plan.h
    int64_t vertical_images;   // that are worth one
    int64_t vertical_bytes;    // that a thread may take for it
    ArrayCode* (*new_vertical_array)(const VerticalArray& array);
    void (*dense)(const DenseConv& conv, const float* x, const Finishing& finishing, unsigned char* scratch);
    void (*finish)(const float* values, int64_t pixels, const Finishing& finishing);
    // Values of images of a shape, [pixels][stride], pooled 2 x 2 or averaged over all pixels on the way.
    void (*pool)(const float* values, const Shape& shape, int64_t images, const Finishing& finishing);
    void (*mean)(const float* values, const Shape& shape, int64_t images, const Finishing& finishing);
    void (*signed_sums)(const SignedSums& sums, const int32_t* values, int64_t pixels, const Finishing& finishing,
                        unsigned char* scratch);  // 64 bytes per channel
    void (*finish_integers)(const int32_t* values, int64_t pixels, const Finishing& finishing);
    // A plane of an image of a shape, [pixels][words], with faults; `state` is that of the image and plane.
    Hits (*faulty_bits)(const uint64_t* from, const Shape& shape, const BitFaults& faults, uint32_t state,
                        uint64_t* to);
    // A buffer's values, or one plane of its bits: to images abreast, or back.
    void (*turn_values)(const float* from, const Shape& shape, int64_t images, bool abreast, float* to);
    void (*turn_bits)(const uint64_t* from, const Shape& shape, int64_t images, bool abreast, uint64_t* to);
};

// Outputs of a row whose inputs lie in a first-level cache as doubles.
inline int64_t dense_columns(const DenseConv& conv) {
    constexpr int64_t kBytes = 24 << 10, kMost = 64, kLeast = 4;
    const ConvGeometry& g = conv.geometry;
    const int64_t columns = kBytes / (g.kernel_h * g.stride_w * g.channels * static_cast<int64_t>(sizeof(double)));
    return columns > kMost ? kMost : columns < kLeast ? kLeast : columns;
}

constexpr int64_t kMostDensePixels = 6;  // whose sums are added up at a time

// Room for those, and for the sums of a few pixels; or for 16 images of what a pixel's outputs are made of.
inline int64_t dense_scratch_bytes(const DenseConv& conv) {
    const ConvGeometry& g = conv.geometry;
    const int64_t columns = (dense_columns(conv) - 1) * g.stride_w + g.kernel_w;
    const int64_t together = g.kernel_h * columns * g.channels + kMostDensePixels * kPanelChannels;
    const int64_t abreast = g.taps() * g.channels * 16;
    return (together > abreast ? together : abreast) * static_cast<int64_t>(sizeof(double));
}

const Code& code_portable();
const Code& code_neon();
const Code& code_avx2();
const Code& code_avx512();

// Of the highest variant that may run, see variant.h.
const Code& usual_code();

}  // namespace bnnkit::deploy
