#include <stdexcept>
#include <utility>

#include "finish.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

class SignedSumStep : public Step {
public:
    SignedSumStep(std::string name, int in, Shape in_shape, int64_t outputs, const int8_t* signs, int drop,
                  Finish finish)
        : Step(std::move(name), in, in_shape, {outputs, in_shape.height, in_shape.width}, std::move(finish)) {
        if (!this->finish.integers || !this->finish.integers->scale.digits)
            throw std::invalid_argument(this->name + ": needed a scale of integers");
        const int64_t channels = in_shape.channels;
        masks_.resize(static_cast<size_t>(ceil_div(outputs, kPanelChannels) * channels * kPanelChannels), 0);
        for (int64_t o = 0; o < outputs; ++o) {
            int32_t* panel = masks_.data() + o / kPanelChannels * channels * kPanelChannels + o % kPanelChannels;
            for (int64_t c = 0; c < channels; ++c) {
                if (signs[o * channels + c] <= 0) continue;
                panel[c * kPanelChannels] = -1;
                positive_.push_back(static_cast<int32_t>(16 * c));
            }
            positive_end_.push_back(static_cast<int32_t>(positive_.size()));
        }
        sums_.channels = channels, sums_.outputs = outputs, sums_.in_stride = in_shape.stride();
        sums_.drop = drop;
        sums_.masks = masks_.data();
        sums_.positive = positive_.data(), sums_.positive_end = positive_end_.data();
    }

    int64_t scratch_bytes(int64_t) const override {
        return in_shape.channels * 16 * static_cast<int64_t>(sizeof(int32_t));
    }

    Operations operations() const override {
        const int64_t pixels = out_shape.pixels();
        Operations o = operations_of(finish, out_shape.channels * pixels);
        o.additions += pixels * out_shape.channels * (in_shape.channels - 1);
        o.shifts += sums_.drop ? pixels * in_shape.channels : 0;
        return o;
    }

    void run(Workspace& workspace, int64_t images) const override {
        code_.signed_sums(sums_, workspace.buffers[static_cast<size_t>(in)].integers(), images * in_shape.pixels(),
                          resolved(finish, workspace, images), workspace.scratch.data());
    }

private:
    std::vector<int32_t> masks_, positive_, positive_end_{0};
    SignedSums sums_;
    const Code& code_ = usual_code();
};

}  // namespace

StepPointer signed_sum_step(std::string name, int in, Shape in_shape, int64_t outputs, const int8_t* signs, int drop,
                            Finish finish) {
    return std::make_shared<SignedSumStep>(std::move(name), in, in_shape, outputs, signs, drop,
                                           padded(std::move(finish), outputs));
}

}  // namespace bnnkit::deploy
