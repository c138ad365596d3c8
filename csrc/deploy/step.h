// One layer of a packed network, and the memory a thread runs it in.
//
// A packed network is a list of steps over numbered buffers. A step reads one buffer (or the images), computes float values or
// integer sums per pixel and channel, and finishes them: shortcut, normalization, Hardtanh, quantization. What leaves a step is
// values, bits, or both; values are float32, in networks of additions and bit operations int32. Buffers are NHWC: channels of
// a pixel lie together, values padded to whole vectors of 16 channels, bits to whole words, so that the next layer's patches
// are gathered by moving words. Or their images are abreast (abreast.h), where a step counts many at a time; what the
// next step wants otherwise is turned before.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../core/geometry.h"
#include "abreast.h"
#include "faults.h"

namespace bnnkit::deploy {

constexpr int kMaxPlanes = 4, kMaxThresholds = 15;
constexpr int kMostDigits = 8;          // of a factor, see ShiftAdd
constexpr int64_t kLaneChannels = 16;   // floats of a pixel are padded to a multiple of this
constexpr int64_t kPanelChannels = 32;  // and parameters to a multiple of this
constexpr int kImages = -1;             // as the buffer a step reads
constexpr int64_t kMostImages = 64;     // that a thread takes through a network at a time

struct Shape {
    int64_t channels = 0, height = 1, width = 1;

    int64_t pixels() const { return height * width; }
    int64_t stride() const { return ceil_div(channels, kLaneChannels) * kLaneChannels; }  // floats per pixel
    int64_t words() const { return words_for(channels); }                                 // per pixel and plane
    bool operator==(const Shape&) const = default;
};

// How values become codes: plane p is bit p of the number of thresholds passed, or (thermometer) whether threshold p is passed.
struct Levels {
    int planes = 0;  // 0: no bits are kept
    bool thermometer = false, strict = true;
    std::vector<float> thresholds;
};

// An activation with a learned slope for negative values, between a normalization and two shifts; all per channel.
struct Activation {
    std::vector<float> scale, shift;              // v = v * scale + shift
    std::vector<float> bias_in, slope, bias_out;  // v += bias_in; v = v > 0 ? v : v * slope; v += bias_out

    bool used() const { return !slope.empty(); }
};

// Sums times a constant per channel: sum over digits d of sign[d] * ((sum << lift) >> shift[d]), shifts rounding down.
struct ShiftAdd {
    int digits = 0, lift = 0;
    std::vector<int32_t> shifts, negative, mask;  // [digits][channels]: negative -1 or 0, mask 0 for digits not in use
};

// What happens to integer values v, in this order; int32, wide enough by construction.
struct IntegerFinish {
    int64_t channels = 0;              // before padding
    double one = 0;                    // not 0: v are floats, become rint(v * one), and saturate at
    std::vector<int32_t> bound;        // these magnitudes
    ShiftAdd scale;                    // v are sums; no digits: values already
    std::vector<int32_t> bias_in;      // v += bias_in, or no activation
    std::vector<int32_t> right, left;  // v = v < 0 ? v >> right << left : v
    std::vector<int32_t> bias_out;     // v += bias_out
    std::vector<int32_t> thresholds;   // keep whether v >= threshold, or none
};

// What happens to a step's values v: they are pooled, then the rest in this order; every arithmetic step rounds to float32 once.
struct Finish {
    int out = 0;                      // buffer that receives the result
    Activation activation;            // or none
    int residual = -1;                // v += values of this buffer, in integer steps after the scale
    bool pool = false;                // maximum over 2 x 2 pixels, before all else; not with a residual
    std::vector<float> scale, shift;  // v = v * scale + shift, per channel; or none
    bool clamp = false;               // to [-1, 1]
    bool floats = true;               // keep v
    Levels levels;                    // keep its code
    // Where only the code of an integer sum matters (no shortcut, no pooling, no floats kept): code = number of thresholds t
    // with sum >= sum_thresholds[t][channel], or -sum where flip[channel] is -1 instead of 0. Else empty.
    std::vector<int32_t> sum_thresholds, flip;
    // Values are integers; nothing of the above is used but `out`, `residual`, `floats` and one plane of `levels`.
    std::optional<IntegerFinish> integers;
};

// What a chip would do for one image, in all channels of all pixels.
struct Operations {
    int64_t binary_macs = 0;  // an exclusive-or and a count
    int64_t additions = 0, shifts = 0, comparisons = 0, multiplications = 0;
    int64_t conversions = 0;  // of analog partial sums
};

class Memory {  // zeroed, 64-byte aligned
public:
    explicit Memory(int64_t bytes = 0);
    ~Memory();
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&& other) noexcept;
    unsigned char* data() const { return data_; }
    int64_t bytes() const { return bytes_; }

private:
    unsigned char* data_ = nullptr;
    int64_t bytes_ = 0;
};

struct Buffer {
    Shape shape;
    int planes = 0;
    bool has_floats = false;
    Memory floats, bits;
    bool values_abreast = false, bits_abreast = false;  // how they were left

    float* values() const { return reinterpret_cast<float*>(floats.data()); }
    int32_t* integers() const { return reinterpret_cast<int32_t*>(floats.data()); }
    uint64_t* plane(int p, int64_t images) const {
        return reinterpret_cast<uint64_t*>(bits.data() + p * plane_bytes(images, bits_abreast));
    }
    int64_t value_bytes(int64_t images, bool abreast) const {
        return abreast ? Abreast::of(images).value_bytes(shape.channels, shape.pixels())
                       : images * shape.pixels() * shape.stride() * static_cast<int64_t>(sizeof(float));
    }
    int64_t plane_bytes(int64_t images, bool abreast) const {
        return abreast ? Abreast::of(images).plane_bytes(shape.channels, shape.pixels())
                       : images * shape.pixels() * shape.words() * static_cast<int64_t>(sizeof(uint64_t));
    }
};

// What one thread works in, for up to `images` images at a time.
struct Workspace {
    const uint8_t* pixels = nullptr;             // [images][channels][height][width], of the chunk at hand
    std::array<int64_t, kMostImages> numbers{};  // of its images within their data set
    std::vector<Buffer> buffers;
    Memory scratch;
    bool many = false;  // whether layers count many of the images at a time
    // Whether the values of its shortcut already lie where the step at hand writes its own, see ends_a_shortcut.
    bool adds_in_place = false;
};

// Of the bits that a layer reads, and of the codes of its converters.
struct LayerHits {
    Hits input, codes;
};

// Outputs of precision gates, and how many of them were open.
struct Gates {
    int64_t open = 0, outputs = 0;
};

class Step {
public:
    Step(std::string name, int in, Shape in_shape, Shape out_shape, Finish finish)
        : name(std::move(name)), in(in), in_shape(in_shape), out_shape(out_shape), finish(std::move(finish)) {}
    virtual ~Step() = default;

    virtual void run(Workspace& workspace, int64_t images) const = 0;
    virtual int64_t scratch_bytes(int64_t images) const = 0;
    virtual bool prefers_many() const { return false; }  // as many images at a time as there may be
    virtual bool reads_bits() const { return false; }    // of `in`, not its values
    // Whether it wants what it reads, and leaves what it writes, with images abreast; else it does as its input does.
    virtual bool abreast(const Workspace& workspace, int64_t /*images*/) const {
        return in != kImages && workspace.buffers[static_cast<size_t>(in)].values_abreast;
    }
    virtual int64_t products() const { return 0; }  // of two codes, for one image
    virtual Operations operations() const = 0;
    virtual Gates take_gates() const { return {}; }     // since the last call
    virtual LayerHits take_hits() const { return {}; }  // since the last call

    const std::string name;
    const int in;
    const Shape in_shape, out_shape;  // out_shape is after pooling
    const Finish finish;
};

using StepPointer = std::shared_ptr<const Step>;

}  // namespace bnnkit::deploy
