#include "steps.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace bnnkit::deploy {
namespace {

Shape shape_of_output(const ConvGeometry& g, bool pool) {
    const int64_t by = pool ? 2 : 1;
    return {g.out_channels, g.out_height() / by, g.out_width() / by};
}

template <class T>
void pad(std::vector<T>& values, int64_t channels, T fill) {
    if (!values.empty()) values.resize(static_cast<size_t>(ceil_div(channels, kPanelChannels) * kPanelChannels), fill);
}

// Parameters are read 16 channels at a time, whatever the number of channels.
Finish padded(Finish f, int64_t channels) {
    const auto c = static_cast<size_t>(channels);
    const auto needs = [&](const auto& values, size_t count, const char* name) {
        if (!values.empty() && values.size() != count) throw std::invalid_argument(std::string(name) + ": wrong size");
    };
    needs(f.scale, c, "scale");
    needs(f.shift, f.scale.empty() ? 0 : c, "shift");
    needs(f.flip, f.sum_thresholds.empty() ? 0 : c, "flip");
    needs(f.sum_thresholds, f.levels.thresholds.size() * c, "sum_thresholds");
    if (f.levels.planes < 0 || f.levels.planes > kMaxPlanes || f.levels.thresholds.size() > kMaxThresholds)
        throw std::invalid_argument("levels: at most 4 planes and 15 thresholds");
    if (!f.sum_thresholds.empty() && (f.residual >= 0 || f.pool || f.floats || !f.levels.planes))
        throw std::invalid_argument("sum_thresholds: only where nothing but codes is kept");
    pad(f.scale, channels, 0.0f);
    pad(f.shift, channels, 0.0f);
    if (!f.sum_thresholds.empty()) {
        const int64_t wide = ceil_div(channels, kPanelChannels) * kPanelChannels;
        std::vector<int32_t> rows;
        for (size_t t = 0; t < f.levels.thresholds.size(); ++t) {
            rows.insert(rows.end(), f.sum_thresholds.begin() + static_cast<int64_t>(t) * channels,
                        f.sum_thresholds.begin() + static_cast<int64_t>(t + 1) * channels);
            rows.resize((t + 1) * static_cast<size_t>(wide), 0);
        }
        f.sum_thresholds = std::move(rows);
        pad(f.flip, channels, 0);
    }
    return f;
}

Finishing resolved(const Finish& f, const Workspace& workspace, int64_t images) {
    const Buffer& out = workspace.buffers[static_cast<size_t>(f.out)];
    Finishing r;
    r.channels = out.shape.channels;
    r.stride = out.shape.stride();
    r.words = out.shape.words();
    if (f.residual >= 0) r.residual = workspace.buffers[static_cast<size_t>(f.residual)].values();
    if (!f.scale.empty()) r.scale = f.scale.data(), r.shift = f.shift.data();
    r.clamp = f.clamp;
    if (f.floats) r.floats = out.values();
    r.planes = f.levels.planes;
    r.threshold_count = static_cast<int>(f.levels.thresholds.size());
    r.thermometer = f.levels.thermometer;
    r.strict = f.levels.strict;
    std::copy(f.levels.thresholds.begin(), f.levels.thresholds.end(), r.thresholds);
    for (int p = 0; p < r.planes; ++p) r.bits[p] = out.plane(p, images);
    if (!f.sum_thresholds.empty()) {
        r.sum_thresholds = f.sum_thresholds.data();
        r.flip = f.flip.data();
        r.padded_channels = static_cast<int64_t>(f.flip.size());
    }
    return r;
}

// Values before pooling: kept in the scratch memory, without any finishing but their stride.
Finishing unfinished(const Shape& shape, float* to) {
    Finishing f;
    f.channels = shape.channels;
    f.stride = shape.stride();
    f.floats = to;
    return f;
}

int64_t float_bytes(const Shape& shape, int64_t images) {
    return ceil_div(images * shape.pixels() * shape.stride() * static_cast<int64_t>(sizeof(float)), 64) * 64;
}

class ImageStep : public Step {
public:
    ImageStep(std::string name, Shape images, Shape out, std::vector<float> values, Finish finish)
        : Step(std::move(name), kImages, images, out, std::move(finish)), values_(std::move(values)) {
        if (static_cast<int64_t>(values_.size()) != images.channels * 256)
            throw std::invalid_argument("values: needed 256 per channel");
        if (out.channels * out.pixels() != images.channels * images.pixels())
            throw std::invalid_argument("out: needed as many values as the image");
        Isa isa;
        code_ = &usual_code(isa);
    }

    int64_t scratch_bytes(int64_t images) const override { return float_bytes(out_shape, images); }

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
        code_->finish(values, images * pixels, resolved(finish, workspace, images));
    }

private:
    const std::vector<float> values_;
    const Code* code_;
};

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
        Isa isa;
        code_ = &usual_code(isa);
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
            code_->dense(conv, x, finishing, workspace.scratch.data());
            return;
        }
        float* values = reinterpret_cast<float*>(workspace.scratch.data());
        code_->dense(conv, x, unfinished(before_pool_, values),
                     workspace.scratch.data() + float_bytes(before_pool_, images));
        code_->pool(values, before_pool_, images, finishing);
    }

private:
    std::vector<double> weights_, bias_;
    DenseConv conv_;
    Shape before_pool_;
    const Code* code_;
};

class MeanStep : public Step {
public:
    MeanStep(std::string name, int in, Shape in_shape, Finish finish)
        : Step(std::move(name), in, in_shape, {in_shape.channels, 1, 1}, std::move(finish)) {
        Isa isa;
        code_ = &usual_code(isa);
    }

    int64_t scratch_bytes(int64_t) const override { return 0; }

    void run(Workspace& workspace, int64_t images) const override {
        code_->mean(workspace.buffers[static_cast<size_t>(in)].values(), in_shape, images,
                    resolved(finish, workspace, images));
    }

private:
    const Code* code_;
};

class ArrayStep : public Step {
public:
    ArrayStep(std::string name, int in, Shape in_shape, std::shared_ptr<const ArrayWeights> weights,
              ArrayConverter converter, Finish finish, const ArrayStep* like)
        : Step(std::move(name), in, in_shape, shape_of_output(weights->geometry, finish.pool), std::move(finish)),
          weights_(std::move(weights)),
          table_(std::move(converter)),
          conv_(conv_of(*weights_)),
          borders_(conv_.geometry, conv_.layout),
          before_pool_(shape_of_output(weights_->geometry, false)),
          slots_(slots_of_pixel()) {
        check();
        code_ = &usual_code(isa_);
        if (like && like->weights_ == weights_ && like->code_ == code_)
            panels_ = like->panels_;
        else
            panels_ = std::make_shared<const Panels>(conv_, code_->panel_columns);
        AdcArgs args;
        args.conv = conv_;
        if (!table_.levels.empty()) {
            args.thresholds = table_.thresholds.data();
            args.levels = table_.levels.data();
            args.level_count = static_cast<int>(table_.levels.size());
            converter_ = std::make_unique<const CountConverter>(args, borders_, code_->converter_shift,
                                                                code_->converter_shift, code_->converter_has_lookup);
        }
        // Panels hold the weights; the rows they were made from are not read again.
        array_.reset(code_->new_array({conv_, borders_, *panels_, converter_.get()}));
        pad(table_.bias, conv_.geometry.out_channels, 0.0f);
        scale_.scale = table_.scale;
        scale_.base = table_.levels.empty() ? 0 : table_.offset * static_cast<double>(conv_.layout.arrays());
        scale_.bias = table_.bias.empty() ? nullptr : table_.bias.data();
        scale_.in_float = exact_in_float();
    }

    int64_t scratch_bytes(int64_t images) const override {
        return x_bytes(images) + float_bytes(finish.pool ? before_pool_ : Shape{}, images) + array_->scratch_bytes();
    }

    int64_t multiplications() const override {
        const ConvGeometry& g = conv_.geometry;
        return g.out_pixels() * g.out_channels * g.taps() * g.channels;
    }

    void run(Workspace& workspace, int64_t images) const override {
        detail::record(Kernel::network, isa_);
        const uint64_t* x = slots(workspace, images);
        unsigned char* scratch = workspace.scratch.data() + x_bytes(images);
        const Finishing finishing = resolved(finish, workspace, images);
        if (!finish.pool) {
            array_->run(x, images, scale_, finishing, scratch);
            return;
        }
        float* values = reinterpret_cast<float*>(scratch);
        array_->run(x, images, scale_, unfinished(before_pool_, values), scratch + float_bytes(before_pool_, images));
        code_->pool(values, before_pool_, images, finishing);
    }

private:
    static BinaryConv conv_of(const ArrayWeights& w) {
        BinaryConv conv;
        conv.geometry = w.geometry;
        conv.layout = layout_of(w.geometry, w.channels_per_array, w.tap);
        conv.w = w.rows.data();
        conv.x_planes = w.x_planes, conv.w_planes = w.w_planes;
        conv.x_thermometer = w.x_thermometer, conv.w_thermometer = w.w_thermometer;
        conv.threads.count = 1;
        return conv;
    }

    void check() const {
        const ConvGeometry& g = conv_.geometry;
        const auto words = static_cast<size_t>(conv_.w_planes * conv_.w_plane_words());
        if (weights_->rows.size() != words) throw std::invalid_argument(name + ": wrong number of weight words");
        const bool fits =
            weights_->flatten
                ? g.channels == in_shape.channels * in_shape.pixels() && g.taps() == 1 && g.pointwise()
                : Shape{g.channels, g.height, g.width}.pixels() == in_shape.pixels() && g.channels == in_shape.channels;
        if (!fits) throw std::invalid_argument(name + ": does not fit its input");
        if (!table_.levels.empty() && table_.thresholds.size() + 1 != table_.levels.size())
            throw std::invalid_argument(name + ": needed one level more than thresholds");
        if (table_.levels.empty() && conv_.x_planes * conv_.w_planes != 1)
            throw std::invalid_argument(name + ": sums without a converter need one plane on each side");
        if (!table_.bias.empty() && static_cast<int64_t>(table_.bias.size()) != g.out_channels)
            throw std::invalid_argument(name + ": wrong number of biases");
    }

    // Whether every scale * sum is an integer below 2^24.
    bool exact_in_float() const {
        constexpr double kExact = 1 << 24;
        double largest = static_cast<double>(conv_.layout.taps * conv_.layout.channels);
        if (!table_.levels.empty()) {
            largest = 0;
            for (int32_t level : table_.levels) largest = std::max(largest, std::abs(static_cast<double>(level)));
            largest *= static_cast<double>(conv_.layout.arrays());
        }
        const double scale = std::abs(table_.scale);
        return scale_.base == 0 && scale < kExact && scale == static_cast<double>(static_cast<int64_t>(scale)) &&
               scale * largest < kExact;
    }

    bool slots_are_dense() const {
        const bool whole_words = conv_.layout.chunks() == 1 || conv_.layout.channels_per_array % kWordBits == 0;
        return !weights_->flatten && whole_words && conv_.layout.pixel_words() == in_shape.words();
    }

    int64_t x_pixels() const { return weights_->flatten ? 1 : in_shape.pixels(); }
    int64_t flat_words() const { return weights_->flatten ? words_for(conv_.geometry.channels) : 0; }
    int64_t x_bytes(int64_t images) const {
        const int64_t words = images * x_pixels() * conv_.layout.pixel_words() * conv_.x_planes;
        return slots_are_dense() ? 0 : ceil_div((words + flat_words() + 1) * 8, 64) * 64;
    }

    // The input's bits as the gatherer reads them: each chunk of channels in words of its own.
    const uint64_t* slots(Workspace& workspace, int64_t images) const {
        const Buffer& source = workspace.buffers[static_cast<size_t>(in)];
        if (slots_are_dense()) return source.plane(0, images);
        uint64_t* x = reinterpret_cast<uint64_t*>(workspace.scratch.data());
        uint64_t* to = x;
        uint64_t* flat = x + images * x_pixels() * conv_.layout.pixel_words() * conv_.x_planes;
        const int64_t in_words = in_shape.words(), pixels = in_shape.pixels();
        for (int p = 0; p < conv_.x_planes; ++p) {
            const uint64_t* from = source.plane(p, images);
            for (int64_t image = 0; image < images; ++image, from += pixels * in_words) {
                if (weights_->flatten) {
                    flatten(from, flat);
                    to = spread(flat, to);
                    continue;
                }
                for (int64_t pixel = 0; pixel < pixels; ++pixel) to = spread(from + pixel * in_words, to);
            }
        }
        return x;
    }

    void flatten(const uint64_t* from, uint64_t* flat) const {
        const int64_t pixels = in_shape.pixels(), words = in_shape.words();
        std::fill(flat, flat + flat_words(), 0);
        for (int64_t pixel = 0; pixel < pixels; ++pixel)
            for (int64_t c = 0; c < in_shape.channels; ++c) {
                const int64_t at = c * pixels + pixel;
                flat[at / kWordBits] |= (from[pixel * words + c / kWordBits] >> (c % kWordBits) & 1)
                                        << (at % kWordBits);
            }
    }

    // A slot word: some bits of one or two words of a pixel.
    struct Slot {
        int64_t low, high;
        uint64_t shift, mask;
    };

    std::vector<Slot> slots_of_pixel() const {
        std::vector<Slot> found;
        const ArrayLayout& layout = conv_.layout;
        const int64_t last = words_for(layout.channels) - 1;
        for (int64_t chunk = 0; chunk < layout.chunks(); ++chunk) {
            const int64_t first = chunk * layout.channels_per_array, end = first + layout.chunk_channels(chunk);
            for (int64_t word = 0; word < layout.slot_words(); ++word) {
                const int64_t bit = first + word * kWordBits, left = end - bit, low = std::min(bit / kWordBits, last);
                const uint64_t mask = left <= 0 ? 0 : left < kWordBits ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
                found.push_back({low, std::min(low + 1, last), static_cast<uint64_t>(bit % kWordBits), mask});
            }
        }
        return found;
    }

    uint64_t* spread(const uint64_t* dense, uint64_t* to) const {
        // Shifting the upper word twice keeps each shift below 64.
        for (const Slot& slot : slots_)
            *to++ = (dense[slot.low] >> slot.shift | dense[slot.high] << 1 << (63 - slot.shift)) & slot.mask;
        return to;
    }

    const std::shared_ptr<const ArrayWeights> weights_;
    ArrayConverter table_;
    const BinaryConv conv_;
    const BorderClasses borders_;
    const Shape before_pool_;
    const std::vector<Slot> slots_;
    Isa isa_;
    const Code* code_;
    std::shared_ptr<const Panels> panels_;
    std::unique_ptr<const CountConverter> converter_;
    std::unique_ptr<const ArrayCode> array_;
    SumScale scale_;
};

}  // namespace

const Code& usual_code(Isa& isa) {
#if defined(__x86_64__)
    static constexpr std::pair<Isa, const Code& (*)()> kCodes[] = {
        {Isa::avx512, code_avx512}, {Isa::avx2, code_avx2}, {Isa::reference, code_portable}};
#elif defined(__aarch64__)
    static constexpr std::pair<Isa, const Code& (*)()> kCodes[] = {{Isa::neon, code_neon},
                                                                   {Isa::reference, code_portable}};
#else
    static constexpr std::pair<Isa, const Code& (*)()> kCodes[] = {{Isa::reference, code_portable}};
#endif
    for (const auto& [candidate, code] : kCodes)
        if (allowed(candidate)) {
            isa = candidate;
            return code();
        }
    throw std::logic_error("the reference is always allowed");
}

StepPointer image_step(std::string name, Shape images, Shape out, std::vector<float> values, Finish finish) {
    return std::make_shared<ImageStep>(std::move(name), images, out, std::move(values),
                                       padded(std::move(finish), out.channels));
}

StepPointer dense_step(std::string name, int in, const ConvGeometry& geometry, const float* weights, const float* bias,
                       Finish finish) {
    return std::make_shared<DenseStep>(std::move(name), in, geometry, weights, bias,
                                       padded(std::move(finish), geometry.out_channels));
}

StepPointer mean_step(std::string name, int in, Shape in_shape, Finish finish) {
    return std::make_shared<MeanStep>(std::move(name), in, in_shape, padded(std::move(finish), in_shape.channels));
}

StepPointer array_step(std::string name, int in, Shape in_shape, std::shared_ptr<const ArrayWeights> weights,
                       ArrayConverter converter, Finish finish, const Step* like) {
    Finish wide = padded(std::move(finish), weights->geometry.out_channels);
    return std::make_shared<ArrayStep>(std::move(name), in, in_shape, std::move(weights), std::move(converter),
                                       std::move(wide), dynamic_cast<const ArrayStep*>(like));
}

}  // namespace bnnkit::deploy
