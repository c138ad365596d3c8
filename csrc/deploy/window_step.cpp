#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "finish.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

Shape shape_after(const Shape& in, const Window& w) {
    if (w.size < 1 || w.stride < 1 || w.pad < 0 || w.pad >= w.size || w.repeats < 1)
        throw std::invalid_argument("window: impossible");
    return {in.channels * w.repeats, (in.height + 2 * w.pad - w.size) / w.stride + 1,
            (in.width + 2 * w.pad - w.size) / w.stride + 1};
}

class WindowStep : public Step {
public:
    WindowStep(std::string name, int in, Shape in_shape, Window window, Finish finish)
        : Step(std::move(name), in, in_shape, shape_after(in_shape, window), std::move(finish)),
          window_(std::move(window)) {
        const Window& w = window_;
        if (!w.maximum && w.size != 1 && (w.size != 2 || w.stride != 2 || w.pad != 0))
            throw std::invalid_argument(this->name + ": means are those of 2 x 2 pixels");
        if (!w.level_values.empty() && w.level_values.size() != w.level_thresholds.size() + 1)
            throw std::invalid_argument(this->name + ": needed one level more than thresholds");
        if (out_shape.height < 1 || out_shape.width < 1) throw std::invalid_argument(this->name + ": no pixels left");
    }

    int64_t scratch_bytes(int64_t images) const override {
        return float_bytes_either_way(out_shape, images) +
               float_bytes_either_way(in_shape, window_.level_values.empty() ? 0 : images);
    }

    Operations operations() const override {
        const Window& w = window_;
        const int64_t values = out_shape.pixels() * in_shape.channels, others = w.size * w.size - 1;
        Operations o = operations_of(finish, out_shape.channels * out_shape.pixels());
        o.comparisons += static_cast<int64_t>(w.level_thresholds.size()) * in_shape.pixels() * in_shape.channels;
        (w.maximum ? o.comparisons : o.additions) += values * others;
        if (!w.maximum && others) (w.integers ? o.shifts : o.multiplications) += values;
        return o;
    }

    void run(Workspace& workspace, int64_t images) const override {
        const Buffer& from = workspace.buffers[static_cast<size_t>(in)];
        const Finishing finishing = resolved(finish, workspace, images);
        const int64_t pixels = images * out_shape.pixels();
        if (window_.integers) {
            int32_t* to = reinterpret_cast<int32_t*>(workspace.scratch.data());
            pool(from.integers(), images, finishing.abreast, to);
            code_.finish_integers(to, pixels, finishing);
            return;
        }
        float* to = reinterpret_cast<float*>(workspace.scratch.data());
        const float* values = from.values();
        if (!window_.level_values.empty()) {
            float* quantized = to + float_bytes_either_way(out_shape, images) / static_cast<int64_t>(sizeof(float));
            quantize(values, from.value_bytes(images, from.values_abreast) / static_cast<int64_t>(sizeof(float)),
                     quantized);
            values = quantized;
        }
        pool(values, images, finishing.abreast, to);
        code_.finish(to, pixels, finishing);
    }

private:
    void quantize(const float* values, int64_t count, float* to) const {
        const std::vector<float>& thresholds = window_.level_thresholds;
        for (int64_t i = 0; i < count; ++i) {
            int level = 0;
            for (const float threshold : thresholds) level += values[i] >= threshold;
            to[i] = window_.level_values[static_cast<size_t>(level)];
        }
    }

    static float mean_of(float a, float b, float c, float d) {
        return static_cast<float>((static_cast<double>(a) + b + c + d) / 4);
    }
    static int32_t mean_of(int32_t a, int32_t b, int32_t c, int32_t d) { return (a + b + c + d) >> 2; }

    // Where values lie: channels of a pixel together, or images abreast.
    struct Strides {
        int64_t group, pixel, neighbours;  // of an image or channel; of a pixel; values that lie together
    };

    static Strides strides_of(const Shape& shape, Abreast abreast) {
        if (abreast.lanes) return {shape.pixels() * abreast.lanes, abreast.lanes, abreast.lanes};
        return {shape.pixels() * shape.stride(), shape.stride(), shape.channels};
    }

    template <class T>
    void pool(const T* values, int64_t images, Abreast abreast, T* to) const {
        const int64_t groups = abreast.lanes ? in_shape.channels : images;
        const Strides from = strides_of(in_shape, abreast), out = strides_of(out_shape, abreast);
        for (int64_t group = 0; group < groups; ++group, values += from.group) {
            T* pixel = to + group * out.group;
            for (int64_t y = 0; y < out_shape.height; ++y)
                for (int64_t x = 0; x < out_shape.width; ++x, pixel += out.pixel) {
                    window_.maximum ? maxima(values, from, y, x, pixel) : means(values, from, y, x, pixel);
                    for (int64_t r = 1; r < window_.repeats; ++r) {
                        T* const again = pixel + r * (abreast.lanes ? groups * out.group : from.neighbours);
                        std::copy(pixel, pixel + from.neighbours, again);
                    }
                }
        }
    }

    template <class T>
    void means(const T* values, const Strides& from, int64_t y, int64_t x, T* to) const {
        const int64_t row = in_shape.width * from.pixel;
        const T* top = values + y * window_.stride * row + x * window_.stride * from.pixel;
        if (window_.size == 1)
            std::copy(top, top + from.neighbours, to);
        else
            for (int64_t i = 0; i < from.neighbours; ++i)
                to[i] = mean_of(top[i], top[from.pixel + i], top[row + i], top[row + from.pixel + i]);
    }

    template <class T>
    void maxima(const T* values, const Strides& from, int64_t y, int64_t x, T* to) const {
        std::fill(to, to + from.neighbours, std::numeric_limits<T>::lowest());
        const int64_t top = y * window_.stride - window_.pad, left = x * window_.stride - window_.pad;
        for (int64_t ky = std::max<int64_t>(top, 0); ky < std::min(top + window_.size, in_shape.height); ++ky)
            for (int64_t kx = std::max<int64_t>(left, 0); kx < std::min(left + window_.size, in_shape.width); ++kx) {
                const T* some = values + (ky * in_shape.width + kx) * from.pixel;
                for (int64_t i = 0; i < from.neighbours; ++i) to[i] = std::max(to[i], some[i]);
            }
    }

    const Window window_;
    const Code& code_ = usual_code();
};

}  // namespace

StepPointer window_step(std::string name, int in, Shape in_shape, Window window, Finish finish) {
    const int64_t channels = in_shape.channels * window.repeats;
    return std::make_shared<WindowStep>(std::move(name), in, in_shape, std::move(window),
                                        padded(std::move(finish), channels));
}

}  // namespace bnnkit::deploy
