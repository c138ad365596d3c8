#include <algorithm>
#include <stdexcept>
#include <utility>

#include "finish.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

class ThermometerStep : public Step {
public:
    ThermometerStep(std::string name, Shape images, int64_t planes, std::vector<int32_t> set_bits, Finish finish)
        : Step(std::move(name), kImages, images, {images.channels * planes, images.height, images.width},
               std::move(finish)),
          planes_(planes),
          set_bits_(std::move(set_bits)) {
        if (planes < 1 || planes > kWordBits) throw std::invalid_argument("planes: needed 1 to 64");
        if (set_bits_.size() != 256) throw std::invalid_argument("set_bits: needed one per byte");
        for (int32_t count : set_bits_)
            if (count < 0 || count > planes) throw std::invalid_argument("set_bits: more than there are");
        if (this->finish.floats || this->finish.levels.planes != 1)
            throw std::invalid_argument("a thermometer leaves one plane of bits");
    }

    int64_t scratch_bytes(int64_t) const override { return 0; }

    Operations operations() const override { return {}; }  // a table

    void run(Workspace& workspace, int64_t images) const override {
        const Buffer& out = workspace.buffers[static_cast<size_t>(finish.out)];
        uint64_t* bits = out.plane(0, images);
        const int64_t pixels = in_shape.pixels(), words = out_shape.words();
        std::fill(bits, bits + images * pixels * words, 0);
        for (int64_t image = 0; image < images; ++image)
            for (int64_t c = 0; c < in_shape.channels; ++c) {
                const uint8_t* bytes = workspace.pixels + (image * in_shape.channels + c) * pixels;
                const int64_t first = c * planes_, word = first / kWordBits, at = first % kWordBits;
                for (int64_t p = 0; p < pixels; ++p) {
                    const int32_t count = set_bits_[bytes[p]];
                    const uint64_t ones = count == kWordBits ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
                    uint64_t* pixel = bits + (image * pixels + p) * words + word;
                    pixel[0] |= ones << at;
                    if (at + count > kWordBits) pixel[1] |= ones >> (kWordBits - at);
                }
            }
    }

private:
    const int64_t planes_;
    const std::vector<int32_t> set_bits_;
};

}  // namespace

StepPointer thermometer_step(std::string name, Shape images, int64_t planes, std::vector<int32_t> set_bits,
                             Finish finish) {
    return std::make_shared<ThermometerStep>(std::move(name), images, planes, std::move(set_bits), std::move(finish));
}

}  // namespace bnnkit::deploy
