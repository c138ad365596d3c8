#include <utility>

#include "finish.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

class MeanStep : public Step {
public:
    MeanStep(std::string name, int in, Shape in_shape, double one, Finish finish)
        : Step(std::move(name), in, in_shape, {in_shape.channels, 1, 1}, std::move(finish)), one_(one) {}

    int64_t scratch_bytes(int64_t images) const override {
        return one_ != 0 ? float_bytes_either_way(out_shape, images) : 0;
    }

    Operations operations() const override {
        Operations o = operations_of(finish, out_shape.channels);
        o.additions += in_shape.channels * (in_shape.pixels() - 1);
        o.multiplications += in_shape.channels;
        return o;
    }

    void run(Workspace& workspace, int64_t images) const override {
        const Buffer& from = workspace.buffers[static_cast<size_t>(in)];
        const Finishing finishing = resolved(finish, workspace, images);
        if (one_ == 0) return code_.mean(from.values(), in_shape, images, finishing);
        float* means = reinterpret_cast<float*>(workspace.scratch.data());
        if (const int64_t lanes = finishing.abreast.lanes) {
            for (int64_t c = 0; c < in_shape.channels; ++c)
                mean_of_integers(from.integers() + c * in_shape.pixels() * lanes, lanes, lanes, means + c * lanes);
        } else {
            const int64_t stride = in_shape.stride(), values = in_shape.pixels() * stride;
            for (int64_t image = 0; image < images; ++image)
                mean_of_integers(from.integers() + image * values, in_shape.channels, stride, means + image * stride);
        }
        code_.finish(means, images, finishing);
    }

private:
    // Of neighbours, `next` values from pixel to pixel.
    void mean_of_integers(const int32_t* values, int64_t count, int64_t next, float* means) const {
        const int64_t pixels = in_shape.pixels();
        for (int64_t i = 0; i < count; ++i) {
            int64_t sum = 0;
            for (int64_t p = 0; p < pixels; ++p) sum += values[p * next + i];
            means[i] = static_cast<float>(static_cast<double>(sum) / (static_cast<double>(pixels) * one_));
        }
    }

    const double one_;
    const Code& code_ = usual_code();
};

}  // namespace

StepPointer mean_step(std::string name, int in, Shape in_shape, double one, Finish finish) {
    return std::make_shared<MeanStep>(std::move(name), in, in_shape, one, padded(std::move(finish), in_shape.channels));
}

}  // namespace bnnkit::deploy
