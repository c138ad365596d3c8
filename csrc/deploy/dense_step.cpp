#include <algorithm>
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
        return (kept ? float_bytes_either_way(before_pool_, images) : 0) + dense_scratch_bytes(conv_);
    }

    bool abreast(const Workspace& workspace, int64_t) const override { return workspace.many; }

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
        code_.dense(conv, x, unfinished(before_pool_, values, finishing.abreast),
                    workspace.scratch.data() + float_bytes_either_way(before_pool_, images));
        if (finish.pool) return code_.pool(values, before_pool_, images, finishing);
        to_integers(values, images, finishing.abreast.lanes);
        code_.finish_integers(reinterpret_cast<int32_t*>(values), images * out_shape.pixels(), finishing);
    }

private:
    // The nearest integer, the even one of two: doubles above 2^52 have no fraction, so the sum is rounded. (The library's
    // function is a call for every value.)
    static int32_t nearest(double v) {
        constexpr double kShift = 3.0 * (int64_t{1} << 51);
        return static_cast<int32_t>((v + kShift) - kShift);
    }

    // In place; `lanes`: of images abreast, or 0.
    void to_integers(float* values, int64_t images, int64_t lanes) const {
        const double one = finish.integers->one;
        const std::vector<int32_t>& bounds = finish.integers->bound;
        const auto convert = [one](float* value, double bound) {
            const double v = static_cast<double>(*value) * one, least = v < -bound ? -bound : v;
            const int32_t integer = nearest(least > bound ? bound : least);
            memcpy(value, &integer, sizeof integer);
        };
        if (lanes) {
            for (int64_t c = 0; c < out_shape.channels; ++c)
                for (int64_t i = 0; i < out_shape.pixels() * lanes; ++i)
                    convert(values++, bounds[static_cast<size_t>(c)]);
            return;
        }
        for (int64_t pixel = 0; pixel < images * out_shape.pixels(); ++pixel)
            for (int64_t c = 0; c < out_shape.stride(); ++c) convert(values++, bounds[static_cast<size_t>(c)]);
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
