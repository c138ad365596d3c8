#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "faulty_converter.h"
#include "finish.h"
#include "slots.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

constexpr int64_t kLeastColumns = 4;  // vertical arrays take as long for one as for a vector of them

class ArrayStep : public Step {
public:
    ArrayStep(std::string name, int in, Shape in_shape, std::shared_ptr<const ArrayWeights> weights,
              ArrayConverter converter, Gate gate, Finish finish, const ArrayFaults& faults, const ArrayStep* like)
        : Step(std::move(name), in, in_shape, shape_of_output(weights->geometry, finish.pool), std::move(finish)),
          weights_(std::move(weights)),
          table_(std::move(converter)),
          gate_(std::move(gate)),
          conv_(conv_of(*weights_)),
          borders_(conv_.geometry, conv_.layout),
          before_pool_(shape_of_output(weights_->geometry, false)),
          slots_(in_shape, conv_.layout, conv_.x_planes, weights_->flatten, conv_.x_by_chunk, faults.input, code_) {
        check();
        if (like && like->weights_ == weights_ && &like->code_ == &code_)
            panels_ = like->panels_;
        else
            panels_ = std::make_shared<const Panels>(conv_, code_.panel_columns);
        AdcArgs args;
        args.conv = conv_;
        if (gated()) args.conv.x_planes = 1;  // its planes are converted one after the other
        args.thresholds = table_.thresholds.data();
        args.levels = table_.levels.data();
        args.level_count = static_cast<int>(table_.levels.size());
        if (args.level_count > 0)
            converter_ = std::make_unique<const CountConverter>(args, borders_, code_.converter_shift,
                                                                code_.converter_has_lookup);
        if (faults.converter) {
            if (gated()) throw std::invalid_argument(this->name + ": converters of gated layers have no faults");
            faulty_ = std::make_unique<const FaultyConverter>(*faults.converter, table_.levels, conv_.layout,
                                                              conv_.geometry.out_channels);
        }
        if (args.level_count > 0 && !faulty_ && !gated() && by_bytes())
            of_sums_ = std::make_unique<const SumConverter>(args, false);
        // Panels hold the weights; the rows they were made from are not read again.
        pad(gate_.thresholds, conv_.geometry.out_channels, INT32_MAX);
        const ArrayPlan plan{conv_,
                             borders_,
                             *panels_,
                             converter_.get(),
                             {gate_.thresholds.data(), gate_.skips},
                             faulty_ ? &faulty_->plan() : nullptr,
                             of_sums_.get()};
        const auto make = gated()                 ? code_.new_gated_array
                          : this->finish.integers ? code_.new_integer_array
                                                  : code_.new_array;
        array_.reset(make(plan));
        if (!faults.input && !faults.converter && !weights_->flatten && conv_.geometry.out_width() >= kLeastColumns &&
            conv_.x_planes == (gated() ? 2 : 1) && VerticalPlan::suits(args, gated())) {
            VerticalCodes codes;
            if (gated()) codes = {gate_.thresholds.data(), nullptr};
            if (this->finish.levels.thresholds.size() == 1 && !this->finish.sum_thresholds.empty() && !gated())
                codes = {this->finish.sum_thresholds.data(), this->finish.flip.data()};
            plan_ = std::make_unique<const VerticalPlan>(args, borders_, codes, largest_sum(), code_.vertical_columns);
            vertical_.reset(code_.new_vertical_array({plan_->lists(), gated(), this->finish.integers.has_value()}));
        }
        pad(table_.bias, conv_.geometry.out_channels, 0.0f);
        scale_.scale = table_.scale;
        scale_.base = table_.levels.empty() ? 0 : table_.offset * static_cast<double>(conv_.layout.arrays());
        scale_.bias = table_.bias.empty() ? nullptr : table_.bias.data();
        scale_.in_float = bnnkit::exact_in_float(scale_.scale, scale_.base, largest_sum());
        if (!scale_.in_float) split_scale();
    }

    int64_t scratch_bytes(int64_t images) const override {
        const int64_t counting = slots_.scratch_bytes(images) + array_->scratch_bytes();
        const int64_t vertical = is_vertical(images) ? vertical_->scratch_bytes() : 0;
        return float_bytes_either_way(finish.pool ? before_pool_ : Shape{}, images) + std::max(counting, vertical);
    }

    bool prefers_many() const override { return vertical_ != nullptr; }
    bool reads_bits() const override { return true; }
    bool abreast(const Workspace&, int64_t images) const override { return is_vertical(images); }

    int64_t products() const override {
        const ConvGeometry& g = conv_.geometry;
        return g.out_pixels() * g.out_channels * g.taps() * g.channels;
    }

    // Gates are counted as if they were all open.
    Operations operations() const override {
        const int64_t outputs = before_pool_.channels * before_pool_.pixels();
        const int64_t planes = conv_.x_planes * conv_.w_planes, arrays = conv_.layout.arrays();
        Operations o = operations_of(finish, out_shape.channels * out_shape.pixels(),
                                     table_.scale != 1 || !table_.bias.empty() || gated());
        o.binary_macs = products() * planes;
        if (!table_.levels.empty()) {
            const int64_t converted = outputs * (gated() ? conv_.x_planes : 1);
            o.conversions = converted * arrays;
            o.additions += converted * (arrays - 1);
        }
        if (planes > 1) o.shifts += outputs, o.additions += outputs * (planes - 1);
        if (gated()) o.comparisons += outputs;
        if (!table_.bias.empty() && finish.sum_thresholds.empty()) o.additions += outputs;
        return o;
    }

    Gates take_gates() const override {
        Gates gates = array_->take_gates();
        if (vertical_) {
            const Gates more = vertical_->take_gates();
            gates.open += more.open, gates.outputs += more.outputs;
        }
        return gates;
    }
    LayerHits take_hits() const override { return {slots_.take_hits(), array_->take_hits()}; }

    void run(Workspace& workspace, int64_t images) const override {
        detail::record(Kernel::network, code_.isa);
        unsigned char* scratch = workspace.scratch.data();
        const Finishing finishing = resolved(finish, workspace, images);
        if (!finish.pool) {
            count(workspace, images, finishing, scratch);
            return;
        }
        float* values = reinterpret_cast<float*>(scratch);
        count(workspace, images, unfinished(before_pool_, values, finishing.abreast),
              scratch + float_bytes_either_way(before_pool_, images));
        code_.pool(values, before_pool_, images, finishing);
    }

private:
    static BinaryConv conv_of(const ArrayWeights& w) {
        BinaryConv conv;
        conv.geometry = w.geometry;
        conv.layout = layout_of(w.geometry, w.channels_per_array, w.tap);
        conv.w = w.rows.data();
        conv.x_planes = w.x_planes, conv.w_planes = w.w_planes;
        conv.x_thermometer = w.x_thermometer, conv.w_thermometer = w.w_thermometer;
        conv.x_by_chunk = conv.layout.chunks() > 1 && gathers_pixels(w.geometry, conv.layout);
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
        if (gated() && (conv_.x_planes != 2 || conv_.w_planes != 1 || finish.integers ||
                        static_cast<int64_t>(gate_.thresholds.size()) != g.out_channels))
            throw std::invalid_argument(name + ": a gate needs a threshold per output, two planes and one of weights");
        if (finish.integers && (finish.pool || !table_.bias.empty() || table_.offset != 0))
            throw std::invalid_argument(name + ": integers have no pooling, biases or offsets");
        if (!gated() && table_.levels.empty() && conv_.x_planes * conv_.w_planes != 1)
            throw std::invalid_argument(name + ": sums without a converter need one plane on each side");
        if (!table_.bias.empty() && static_cast<int64_t>(table_.bias.size()) != g.out_channels)
            throw std::invalid_argument(name + ": wrong number of biases");
    }

    bool is_vertical(int64_t images) const { return vertical_ && images >= code_.vertical_images; }

    void count(Workspace& workspace, int64_t images, const Finishing& finishing, unsigned char* scratch) const {
        const Buffer& source = workspace.buffers[static_cast<size_t>(in)];
        if (is_vertical(images)) {
            vertical_->run({source.plane(0, images), images}, scale_, finishing, scratch);
            return;
        }
        const uint64_t* bits = slots_.fill(workspace, source, images, scratch);
        array_->run({bits, images, workspace.numbers.data()}, scale_, finishing,
                    scratch + slots_.scratch_bytes(images));
    }

    bool gated() const { return !gate_.thresholds.empty(); }
    bool by_bytes() const {
        const int64_t pairs = conv_.x_planes * conv_.w_planes;
        return code_.products_by_bytes > 0 && pairs > 2 &&
               pairs * conv_.geometry.out_channels >= code_.products_by_bytes;
    }

    int64_t largest_sum() const {
        const int64_t largest = table_.levels.empty() ? conv_.layout.taps * conv_.layout.channels
                                                      : largest_magnitude(table_.levels.data(), table_.levels.size()) *
                                                            conv_.layout.arrays();
        return gated() ? 3 * largest : largest;
    }

    // Finds SumScale's two floats: the first with so few bits that its products with sums are exact. Whether the rest of the
    // scale is precise enough is tried out.
    void split_scale() {
        constexpr int64_t kMostSums = 1 << 14;
        const int64_t largest = largest_sum();
        if (largest > kMostSums || scale_.base != 0 || scale_.bias) return;
        int exponent = 0;
        const int bits = 24 - std::bit_width(static_cast<uint64_t>(largest));
        const double fraction = std::frexp(scale_.scale, &exponent);
        const double high = std::ldexp(std::nearbyint(std::ldexp(fraction, bits)), exponent - bits);
        scale_.high = static_cast<float>(high), scale_.low = static_cast<float>(scale_.scale - high);
        for (int64_t sum = -largest; sum <= largest; ++sum) {
            const auto number = static_cast<float>(sum);
            const float upper = number * scale_.high, lower = number * scale_.low, value = upper + lower;
            const auto wanted = static_cast<float>(scale_.scale * static_cast<double>(sum) + scale_.base);
            if (std::bit_cast<uint32_t>(value) != std::bit_cast<uint32_t>(wanted)) return;
        }
        scale_.in_two_floats = true;
    }

    const std::shared_ptr<const ArrayWeights> weights_;
    ArrayConverter table_;
    Gate gate_;
    const BinaryConv conv_;
    const BorderClasses borders_;
    const Shape before_pool_;
    const Code& code_ = usual_code();
    const Slots slots_;
    std::shared_ptr<const Panels> panels_;
    std::unique_ptr<const CountConverter> converter_;
    std::unique_ptr<const SumConverter> of_sums_;  // or none
    std::unique_ptr<const FaultyConverter> faulty_;
    std::unique_ptr<const ArrayCode> array_;
    std::unique_ptr<const VerticalPlan> plan_;
    std::unique_ptr<const ArrayCode> vertical_;  // or none
    SumScale scale_;
};

}  // namespace

StepPointer array_step(std::string name, int in, Shape in_shape, std::shared_ptr<const ArrayWeights> weights,
                       ArrayConverter converter, Gate gate, Finish finish, const ArrayFaults& faults,
                       const Step* like) {
    Finish wide = padded(std::move(finish), weights->geometry.out_channels);
    return std::make_shared<ArrayStep>(std::move(name), in, in_shape, std::move(weights), std::move(converter),
                                       std::move(gate), std::move(wide), faults, dynamic_cast<const ArrayStep*>(like));
}

}  // namespace bnnkit::deploy
