#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "finish.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

class DenseStep : public Step {
public:
    DenseStep(std::string name, int in, const ConvGeometry& g, const float* weights, const float* bias, Finish finish)
        : Step(std::move(name), in, {g.channels, g.height, g.width}, shape_of_output(g, finish.pool),
               std::move(finish)),
          has_bias_(bias != nullptr) {
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
        const bool kept = finish.pool || finish.integers;
        return (kept ? float_bytes(before_pool_, images) : 0) + dense_scratch_bytes(conv_);
    }

    Operations operations() const override {
        const ConvGeometry& g = conv_.geometry;
        const int64_t macs = g.out_pixels() * g.out_channels * g.taps() * g.channels;
        Operations o = operations_of(finish, out_shape.channels * out_shape.pixels());
        o.multiplications += macs;
        o.additions += macs - (has_bias_ ? 0 : g.out_pixels() * g.out_channels);
        return o;
    }

    void run(Workspace& workspace, int64_t images) const override {
        DenseConv conv = conv_;
        conv.geometry.batch = images;
        const float* x = workspace.buffers[static_cast<size_t>(in)].values();
        const Finishing finishing = resolved(finish, workspace, images);
        if (!finish.pool && !finish.integers) {
            code_.dense(conv, x, finishing, workspace.scratch.data());
            return;
        }
        float* values = reinterpret_cast<float*>(workspace.scratch.data());
        code_.dense(conv, x, unfinished(before_pool_, values),
                    workspace.scratch.data() + float_bytes(before_pool_, images));
        if (finish.pool) return code_.pool(values, before_pool_, images, finishing);
        to_integers(values, images * out_shape.pixels());
        code_.finish_integers(reinterpret_cast<int32_t*>(values), images * out_shape.pixels(), finishing);
    }

private:
    // In place.
    void to_integers(float* values, int64_t pixels) const {
        const IntegerFinish& f = *finish.integers;
        const int64_t stride = out_shape.stride();
        for (int64_t pixel = 0; pixel < pixels; ++pixel, values += stride)
            for (int64_t c = 0; c < stride; ++c) {
                const double bound = f.bound[static_cast<size_t>(c)];
                const double rounded = std::nearbyint(static_cast<double>(values[c]) * f.one);
                const auto integer = static_cast<int32_t>(std::min(std::max(rounded, -bound), bound));
                memcpy(values + c, &integer, sizeof integer);
            }
    }

    std::vector<double> weights_, bias_;
    bool has_bias_;
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
