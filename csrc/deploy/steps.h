// The kinds of steps; each is made once and never changes, so networks may share them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../core/binary_conv.h"
#include "code.h"
#include "faults.h"
#include "step.h"

namespace bnnkit::deploy {

// Stored images become values: values[channel][byte] of uint8 [channels][height][width]. With out_shape of one pixel, every
// byte of the image is a channel.
StepPointer image_step(std::string name, Shape images, Shape out, std::vector<float> values, Finish finish);

// Stored images become bits: those of a channel are a thermometer of `planes` bits, the lowest set_bits[byte] of them set.
StepPointer thermometer_step(std::string name, Shape images, int64_t planes, std::vector<int32_t> set_bits,
                             Finish finish);

// A convolution in full precision: weights float32 [out][channels][kernel_h][kernel_w], summed in double.
StepPointer dense_step(std::string name, int in, const ConvGeometry& geometry, const float* weights, const float* bias,
                       Finish finish);

// With `one` the values are integers that stand for value / one.
StepPointer mean_step(std::string name, int in, Shape in_shape, double one, Finish finish);

struct ArrayWeights {
    ConvGeometry geometry;  // one group
    int64_t channels_per_array = 1;
    bool tap = false;
    int x_planes = 1, w_planes = 1;
    bool x_thermometer = false, w_thermometer = false;
    std::vector<uint64_t> rows;  // packed weights [w_planes][out_channels][words], see ArrayLayout
    // The layer reads all values of an image as one pixel's channels, in the order channel, row, column.
    bool flatten = false;
};

struct ArrayConverter {
    std::vector<int32_t> thresholds, levels;  // no levels: sums stay exact
    double scale = 1, offset = 0;             // of a level; scale also where there are no levels
    std::vector<float> bias;                  // or none
};

// A precision gate, see gated_engine.h; no thresholds: none.
struct Gate {
    std::vector<int32_t> thresholds;  // per output, of the sums of high bits
    bool skips = false;
};

// Faults are in the bits it reads and in its converters, see faults.h; gated layers have none in converters.
// Panels are taken over from `like`, an array step with the same weights, where there is one.
StepPointer array_step(std::string name, int in, Shape in_shape, std::shared_ptr<const ArrayWeights> weights,
                       ArrayConverter converter, Gate gate, Finish finish, const ArrayFaults& faults, const Step* like);

// A 1x1 convolution of integer values with binary weights: signs [out][channels] of 1 and -1.
StepPointer signed_sum_step(std::string name, int in, Shape in_shape, int64_t outputs, const int8_t* signs, int drop,
                            Finish finish);

// What a shortcut does to values, float or integer. A step reads the values of `in`: float values become `level_values` by the
// number of `level_thresholds` they reach, if there are any; then a window moves over the pixels and keeps the largest value or
// (2 x 2 only) the mean, which integers round down; then all channels are repeated.
struct Window {
    int64_t size = 1, stride = 1, pad = 0, repeats = 1;
    bool maximum = false, integers = false;
    std::vector<float> level_thresholds, level_values;
};
StepPointer window_step(std::string name, int in, Shape in_shape, Window window, Finish finish);

}  // namespace bnnkit::deploy
