// The kinds of steps; each is made once and never changes, so networks may share them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../core/binary_conv.h"
#include "code.h"
#include "step.h"

namespace bnnkit::deploy {

// Stored images become values: values[channel][byte] of uint8 [channels][height][width]. With out_shape of one pixel, every
// byte of the image is a channel.
StepPointer image_step(std::string name, Shape images, Shape out, std::vector<float> values, Finish finish);

// A convolution in full precision: weights float32 [out][channels][kernel_h][kernel_w], summed in double.
StepPointer dense_step(std::string name, int in, const ConvGeometry& geometry, const float* weights, const float* bias,
                       Finish finish);

StepPointer mean_step(std::string name, int in, Shape in_shape, Finish finish);

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

// Panels are taken over from `like`, an array step with the same weights, where there is one.
StepPointer array_step(std::string name, int in, Shape in_shape, std::shared_ptr<const ArrayWeights> weights,
                       ArrayConverter converter, Finish finish, const Step* like);

}  // namespace bnnkit::deploy
