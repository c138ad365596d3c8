#include <utility>

#include "finish.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

class DenseStep : public Step {
public:
    DenseStep(std::string name, int in, const ConvGeometry& g, const float* weights, const float* bias, Finish finish)
        : Step(std::move(name), in, {g.channels, g.height, g.width}, shape_of_output(g, finish.pool),
               std::move(finish)) {
        const int64_t panels = ceil_div(g.out_channels, kPanelChannels), depth = g.taps() * g.channels;
        weights_.resize(static_cast<size_t>(panels * depth * kPanelChannels), 0.0);
        bias_.resize(static_cast<size_t>(panels * kPanelChannels), 0.0);
        for (int64_t o = 0; o < g.out_channels; ++o) {
            if (bias) bias_[static_cast<size_t>(o)] = bias[o];
            double* panel = weights_.data() + o / kPanelChannels * depth * kPanelChannels + o % kPanelChannels;
            for (int64_t c = 0; c < g.channels; ++c)
                for (int64_t tap = 0; tap < g.taps(); ++tap)
                    panel[(tap * g.channels + c) * kPanelChannels] = weights[(o * g.channels + c) * g.taps() + tap];
        }
        conv_.geometry = g;
        conv_.in_stride = in_shape.stride();
        conv_.weights = weights_.data();
        conv_.bias = bias_.data();
        before_pool_ = shape_of_output(g, false);
    }

    int64_t scratch_bytes(int64_t images) const override {
        return (finish.pool ? float_bytes(before_pool_, images) : 0) + dense_scratch_bytes(conv_);
    }

    void run(Workspace& workspace, int64_t images) const override {
        DenseConv conv = conv_;
        conv.geometry.batch = images;
        const float* x = workspace.buffers[static_cast<size_t>(in)].values();
        const Finishing finishing = resolved(finish, workspace, images);
        if (!finish.pool) {
            code_.dense(conv, x, finishing, workspace.scratch.data());
            return;
        }
        float* values = reinterpret_cast<float*>(workspace.scratch.data());
        code_.dense(conv, x, unfinished(before_pool_, values),
                    workspace.scratch.data() + float_bytes(before_pool_, images));
        code_.pool(values, before_pool_, images, finishing);
    }

private:
    std::vector<double> weights_, bias_;
    DenseConv conv_;
    Shape before_pool_;
    const Code& code_ = usual_code();
};

}  // namespace

StepPointer dense_step(std::string name, int in, const ConvGeometry& geometry, const float* weights, const float* bias,
                       Finish finish) {
    return std::make_shared<DenseStep>(std::move(name), in, geometry, weights, bias,
                                       padded(std::move(finish), geometry.out_channels));
}

}  // namespace bnnkit::deploy
