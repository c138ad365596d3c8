// Packed networks for Python: steps are made from NumPy arrays and put together; torch.ops.bnnkit.run_networks runs them.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>

#include "../deploy/network.h"
#include "../deploy/steps.h"
#include "../deploy/weight_bits.h"

namespace py = pybind11;
using namespace bnnkit::deploy;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <class T>
std::vector<T> vector_of(const std::optional<Array<T>>& array) {
    return array ? std::vector<T>(array->data(), array->data() + array->size()) : std::vector<T>{};
}

Shape shape_of(const std::array<int64_t, 3>& s) { return {s[0], s[1], s[2]}; }

bnnkit::ConvGeometry geometry_of(const Shape& in, int64_t outputs, const std::array<int64_t, 2>& kernel,
                                 const std::array<int64_t, 2>& stride, const std::array<int64_t, 2>& padding) {
    bnnkit::ConvGeometry g;
    g.channels = in.channels, g.height = in.height, g.width = in.width;
    g.out_channels = outputs;
    g.kernel_h = kernel[0], g.kernel_w = kernel[1];
    g.stride_h = stride[0], g.stride_w = stride[1];
    g.pad_h = padding[0], g.pad_w = padding[1];
    if (outputs < 1 || g.kernel_h < 1 || g.kernel_w < 1 || g.stride_h < 1 || g.stride_w < 1 || g.pad_h < 0 ||
        g.pad_w < 0 || g.out_height() < 1 || g.out_width() < 1)
        throw std::invalid_argument("a convolution needs outputs");
    return g;
}

// Steps never change, and pybind11 has no holder for pointers to const.
using HeldStep = std::shared_ptr<Step>;
HeldStep held(const StepPointer& step) { return std::const_pointer_cast<Step>(step); }

struct HeldWeights {
    std::shared_ptr<const ArrayWeights> weights;
};

// The same layout with weight bits as files hold them.
HeldWeights with_bits(ArrayWeights w, const Array<uint8_t>& bits) {
    if (w.geometry.taps() > bnnkit::kMaxTaps)
        throw std::invalid_argument("kernel: at most " + std::to_string(bnnkit::kMaxTaps) + " taps");
    const bnnkit::ArrayLayout layout = bnnkit::layout_of(w.geometry, w.channels_per_array, w.tap);
    const int64_t outputs = w.geometry.out_channels, count = w.w_planes * outputs * layout.channels * layout.taps;
    if (bits.size() != bnnkit::ceil_div(count, 8))
        throw std::invalid_argument("bits: " + std::to_string(count) + " needed, without gaps");
    w.rows = arranged(bits.data(), w.w_planes, outputs, layout);
    return {std::make_shared<const ArrayWeights>(std::move(w))};
}

class HeldNetwork {
public:
    explicit HeldNetwork(const std::vector<HeldStep>& steps)
        : network_({steps.begin(), steps.end()}), number_(enlist(&network_)) {}
    ~HeldNetwork() { strike(number_); }
    HeldNetwork(const HeldNetwork&) = delete;
    HeldNetwork& operator=(const HeldNetwork&) = delete;

    Network& network() { return network_; }
    int64_t number() const { return number_; }

private:
    Network network_;
    int64_t number_;
};

}  // namespace

static void bind_finish(py::module_& m) {
    py::class_<Activation>(m, "Activation", "A normalization and a slope for negative values; see csrc/deploy/step.h.")
        .def(py::init([](std::optional<Array<float>> scale, std::optional<Array<float>> shift,
                         const Array<float>& bias_in, const Array<float>& slope, const Array<float>& bias_out) {
                 return Activation{vector_of(scale), vector_of(shift), vector_of<float>(bias_in),
                                   vector_of<float>(slope), vector_of<float>(bias_out)};
             }),
             py::kw_only(), py::arg("scale"), py::arg("shift"), py::arg("bias_in"), py::arg("slope"),
             py::arg("bias_out"));

    py::class_<IntegerFinish>(m, "IntegerFinish", "What happens to a step's integers; see csrc/deploy/step.h.")
        .def(
            py::init([](double one, std::optional<Array<int32_t>> bound, int lift, std::optional<Array<int32_t>> shifts,
                        std::optional<Array<int32_t>> signs, std::optional<Array<int32_t>> bias_in,
                        std::optional<Array<int32_t>> right, std::optional<Array<int32_t>> left,
                        std::optional<Array<int32_t>> bias_out, std::optional<Array<int32_t>> thresholds) {
                IntegerFinish f;
                f.one = one;
                f.bound = vector_of(bound);
                if (shifts) {
                    if (!signs || shifts->ndim() != 2 || signs->size() != shifts->size())
                        throw std::invalid_argument("shifts: needed [digits, channels], and as many signs");
                    f.scale.digits = static_cast<int>(shifts->shape(0));
                    f.scale.lift = lift;
                    f.scale.shifts = vector_of(shifts);
                    for (int32_t sign : vector_of(signs)) {
                        f.scale.negative.push_back(sign < 0 ? -1 : 0);
                        f.scale.mask.push_back(sign != 0 ? -1 : 0);
                    }
                }
                f.bias_in = vector_of(bias_in), f.right = vector_of(right), f.left = vector_of(left);
                f.bias_out = vector_of(bias_out), f.thresholds = vector_of(thresholds);
                return f;
            }),
            py::kw_only(), py::arg("one") = 0.0, py::arg("bound") = py::none(), py::arg("lift") = 0,
            py::arg("shifts") = py::none(), py::arg("signs") = py::none(), py::arg("bias_in") = py::none(),
            py::arg("right") = py::none(), py::arg("left") = py::none(), py::arg("bias_out") = py::none(),
            py::arg("thresholds") = py::none());

    py::class_<Finish>(m, "Finish", "What happens to a step's values; see csrc/deploy/step.h.")
        .def(py::init([](int out, int residual, bool pool, std::optional<Array<float>> scale,
                         std::optional<Array<float>> shift, bool clamp, bool floats, int planes, bool thermometer,
                         bool strict, std::vector<float> thresholds, std::optional<Array<int32_t>> sum_thresholds,
                         std::optional<Array<int32_t>> flip, std::optional<Activation> activation,
                         std::optional<IntegerFinish> integers) {
                 return Finish{out,
                               activation.value_or(Activation{}),
                               residual,
                               pool,
                               vector_of(scale),
                               vector_of(shift),
                               clamp,
                               floats,
                               {planes, thermometer, strict, std::move(thresholds)},
                               vector_of(sum_thresholds),
                               vector_of(flip),
                               std::move(integers)};
             }),
             py::kw_only(), py::arg("out"), py::arg("residual") = -1, py::arg("pool") = false,
             py::arg("scale") = py::none(), py::arg("shift") = py::none(), py::arg("clamp") = false,
             py::arg("floats") = true, py::arg("planes") = 0, py::arg("thermometer") = false, py::arg("strict") = true,
             py::arg("thresholds") = std::vector<float>{}, py::arg("sum_thresholds") = py::none(),
             py::arg("flip") = py::none(), py::arg("activation") = py::none(), py::arg("integers") = py::none());
}

static void bind_faults(py::module_& m) {
    py::enum_<BitKind>(m, "BitKind")
        .value("flip", BitKind::flip)
        .value("stuck0", BitKind::stuck0)
        .value("stuck1", BitKind::stuck1)
        .value("random", BitKind::random);
    py::class_<BitFaults>(m, "BitFaults", "Bits that are hit; see csrc/deploy/faults.h.")
        .def(py::init([](BitKind kind, uint64_t below, uint32_t state, int bit) {
                 if (below > uint64_t{1} << 32) throw std::invalid_argument("below: at most 2^32");
                 return BitFaults{kind, below, state, bit};
             }),
             py::kw_only(), py::arg("kind"), py::arg("below"), py::arg("state"), py::arg("bit"));
    py::class_<ConverterFaults>(m, "ConverterFaults", "Gains, offsets, noise, codes; see csrc/deploy/faults.h.")
        .def(py::init([](const Array<int64_t>& thresholds, std::optional<Array<int32_t>> gain,
                         std::optional<Array<int64_t>> offset, std::optional<Array<int64_t>> noise, uint32_t state,
                         std::optional<Array<int32_t>> stuck, std::optional<BitFaults> bits) {
                 return ConverterFaults{vector_of<int64_t>(thresholds),
                                        vector_of(gain),
                                        vector_of(offset),
                                        vector_of(noise),
                                        state,
                                        vector_of(stuck),
                                        bits.value_or(BitFaults{})};
             }),
             py::kw_only(), py::arg("thresholds"), py::arg("gain"), py::arg("offset"), py::arg("noise"),
             py::arg("state"), py::arg("stuck"), py::arg("bits"));
    py::class_<ArrayFaults>(m, "ArrayFaults", "Faults of one layer on arrays.")
        .def(py::init([](std::optional<BitFaults> input, std::optional<ConverterFaults> converter) {
                 return ArrayFaults{input, std::move(converter)};
             }),
             py::kw_only(), py::arg("input") = py::none(), py::arg("converter") = py::none());
}

static void bind_steps(py::module_& m) {
    py::class_<Operations>(m, "Operations", "What a chip would do for one image.")
        .def_readonly("binary_macs", &Operations::binary_macs)
        .def_readonly("additions", &Operations::additions)
        .def_readonly("shifts", &Operations::shifts)
        .def_readonly("comparisons", &Operations::comparisons)
        .def_readonly("multiplications", &Operations::multiplications)
        .def_readonly("conversions", &Operations::conversions);

    py::class_<Step, HeldStep>(m, "Step", "One layer of a packed network; never changes.")
        .def_readonly("name", &Step::name)
        .def_property_readonly("products", &Step::products)
        .def_property_readonly("operations", &Step::operations)
        .def("take_gates",
             [](const Step& step) {
                 const Gates gates = step.take_gates();
                 return std::pair{gates.open, gates.outputs};
             })
        .def("take_hits", [](const Step& step) {
            const LayerHits hits = step.take_hits();
            const auto tuple = [](const Hits& h) { return std::tuple{h.bits, h.faulty, h.wrong}; };
            return std::pair{tuple(hits.input), tuple(hits.codes)};
        });

    m.def("image_step", [](const std::string& name, std::array<int64_t, 3> images, std::array<int64_t, 3> out,
                           const Array<float>& values, const Finish& finish) {
        std::vector<float> table(values.data(), values.data() + values.size());
        return held(image_step(name, shape_of(images), shape_of(out), std::move(table), finish));
    });
    m.def("thermometer_step", [](const std::string& name, std::array<int64_t, 3> images, int64_t planes,
                                 std::vector<int32_t> set_bits, const Finish& finish) {
        return held(thermometer_step(name, shape_of(images), planes, std::move(set_bits), finish));
    });
    m.def("signed_sum_step", [](const std::string& name, int in, std::array<int64_t, 3> in_shape,
                                const Array<int8_t>& signs, int drop, const Finish& finish) {
        if (signs.ndim() != 2 || signs.shape(1) != in_shape[0])
            throw std::invalid_argument(name + ": signs do not fit the input");
        return held(signed_sum_step(name, in, shape_of(in_shape), signs.shape(0), signs.data(), drop, finish));
    });
    m.def(
        "window_step",
        [](const std::string& name, int in, std::array<int64_t, 3> in_shape, const Finish& finish, int64_t size,
           int64_t stride, int64_t pad, int64_t repeats, bool maximum, bool integers,
           std::vector<float> level_thresholds, std::vector<float> level_values) {
            return held(window_step(
                name, in, shape_of(in_shape),
                {size, stride, pad, repeats, maximum, integers, std::move(level_thresholds), std::move(level_values)},
                finish));
        },
        py::arg("name"), py::arg("in_buffer"), py::arg("in_shape"), py::arg("finish"), py::kw_only(),
        py::arg("size") = 1, py::arg("stride") = 1, py::arg("pad") = 0, py::arg("repeats") = 1,
        py::arg("maximum") = false, py::arg("integers") = false, py::arg("level_thresholds") = std::vector<float>{},
        py::arg("level_values") = std::vector<float>{});
    m.def("dense_step", [](const std::string& name, int in, std::array<int64_t, 3> in_shape,
                           const Array<float>& weights, const std::optional<Array<float>>& bias,
                           std::array<int64_t, 2> stride, std::array<int64_t, 2> padding, const Finish& finish) {
        const Shape shape = shape_of(in_shape);
        if (weights.ndim() != 4 || weights.shape(1) != shape.channels)
            throw std::invalid_argument(name + ": weights do not fit the input");
        const auto g = geometry_of(shape, weights.shape(0), {weights.shape(2), weights.shape(3)}, stride, padding);
        if (bias && bias->size() != g.out_channels) throw std::invalid_argument(name + ": wrong biases");
        return held(dense_step(name, in, g, weights.data(), bias ? bias->data() : nullptr, finish));
    });
    m.def("mean_step", [](const std::string& name, int in, std::array<int64_t, 3> in_shape, double one,
                          const Finish& finish) { return held(mean_step(name, in, shape_of(in_shape), one, finish)); });

    py::class_<HeldWeights>(m, "ArrayWeights", "Packed weights of one layer and the layout they have.")
        .def(py::init([](const Array<uint8_t>& bits, int planes, int64_t outputs, std::array<int64_t, 3> in_shape,
                         std::array<int64_t, 2> kernel, std::array<int64_t, 2> stride, std::array<int64_t, 2> padding,
                         int64_t channels_per_array, bool tap, int x_planes, bool x_thermometer, bool w_thermometer,
                         bool flatten) {
                 if (x_planes < 1 || x_planes > 4 || planes < 1 || planes > 4 || channels_per_array < 1)
                     throw std::invalid_argument("bits: needed 1 to 4 planes");
                 ArrayWeights w;
                 w.geometry = geometry_of(shape_of(in_shape), outputs, kernel, stride, padding);
                 w.channels_per_array = channels_per_array;
                 w.tap = tap;
                 w.x_planes = x_planes;
                 w.w_planes = planes;
                 w.x_thermometer = x_thermometer;
                 w.w_thermometer = w_thermometer;
                 w.flatten = flatten;
                 return with_bits(std::move(w), bits);
             }),
             py::kw_only(), py::arg("bits"), py::arg("planes"), py::arg("outputs"), py::arg("in_shape"),
             py::arg("kernel"), py::arg("stride"), py::arg("padding"), py::arg("channels_per_array"), py::arg("tap"),
             py::arg("x_planes"), py::arg("x_thermometer"), py::arg("w_thermometer"), py::arg("flatten"))
        .def("with_bits",
             [](const HeldWeights& held, const Array<uint8_t>& bits) { return with_bits(*held.weights, bits); });

    m.def(
        "array_step",
        [](const std::string& name, int in, std::array<int64_t, 3> in_shape, const HeldWeights& weights,
           const std::optional<Array<int32_t>>& thresholds, const std::optional<Array<int32_t>>& levels, double scale,
           double offset, const std::optional<Array<float>>& bias, const std::optional<Array<int32_t>>& gate,
           bool gate_skips, const Finish& finish, const HeldStep& like, const ArrayFaults& faults) {
            ArrayConverter converter{vector_of(thresholds), vector_of(levels), scale, offset, vector_of(bias)};
            return held(array_step(name, in, shape_of(in_shape), weights.weights, std::move(converter),
                                   {vector_of(gate), gate_skips}, finish, faults, like.get()));
        },
        py::arg("name"), py::arg("in_buffer"), py::arg("in_shape"), py::arg("weights"), py::kw_only(),
        py::arg("thresholds"), py::arg("levels"), py::arg("scale"), py::arg("offset"), py::arg("bias"), py::arg("gate"),
        py::arg("gate_skips"), py::arg("finish"), py::arg("like"), py::arg("faults") = ArrayFaults{});
}

void bind_network(py::module_& m) {
    bind_finish(m);
    bind_faults(m);
    bind_steps(m);
    py::class_<HeldNetwork>(m, "Network", "Steps put together; torch.ops.bnnkit.run_networks runs it by its number.")
        .def(py::init<const std::vector<HeldStep>&>())
        .def_property_readonly("number", &HeldNetwork::number)
        .def_property_readonly("classes", [](HeldNetwork& n) { return n.network().classes(); })
        .def_property_readonly("bytes", [](HeldNetwork& n) { return n.network().bytes(); })
        .def("take_profile", [](HeldNetwork& n) {
            std::vector<std::pair<std::string, int64_t>> shares;
            const std::vector<int64_t> spent = n.network().take_profile();
            for (size_t i = 0; i < spent.size(); ++i) shares.emplace_back(n.network().steps()[i]->name, spent[i]);
            return shares;
        });
}
