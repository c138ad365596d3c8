#include <stdexcept>
#include <utility>

#include "finish.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

class ImageStep : public Step {
public:
    ImageStep(std::string name, Shape images, Shape out, std::vector<float> values, Finish finish)
        : Step(std::move(name), kImages, images, out, std::move(finish)), values_(std::move(values)) {
        if (static_cast<int64_t>(values_.size()) != images.channels * 256)
            throw std::invalid_argument("values: needed 256 per channel");
        if (out.channels * out.pixels() != images.channels * images.pixels())
            throw std::invalid_argument("out: needed as many values as the image");
    }

    int64_t scratch_bytes(int64_t images) const override { return float_bytes(out_shape, images); }

    Operations operations() const override {
        return operations_of(finish, out_shape.channels * out_shape.pixels());  // values come from a table
    }

    void run(Workspace& workspace, int64_t images) const override {
        float* values = reinterpret_cast<float*>(workspace.scratch.data());
        const int64_t pixels = out_shape.pixels(), stride = out_shape.stride(), plane = in_shape.pixels();
        for (int64_t image = 0; image < images; ++image) {
            const uint8_t* bytes = workspace.pixels + image * in_shape.channels * plane;
            float* to = values + image * pixels * stride;
            for (int64_t c = 0; c < out_shape.channels; ++c)
                for (int64_t p = 0; p < pixels; ++p) {
                    const int64_t at = c * pixels + p;
                    to[p * stride + c] = values_[static_cast<size_t>(at / plane * 256 + bytes[at])];
                }
        }
        code_.finish(values, images * pixels, resolved(finish, workspace, images));
    }

private:
    const std::vector<float> values_;
    const Code& code_ = usual_code();
};

}  // namespace

StepPointer image_step(std::string name, Shape images, Shape out, std::vector<float> values, Finish finish) {
    return std::make_shared<ImageStep>(std::move(name), images, out, std::move(values),
                                       padded(std::move(finish), out.channels));
}

}  // namespace bnnkit::deploy
