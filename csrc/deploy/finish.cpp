#include "finish.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace bnnkit::deploy {

namespace {

void needs(size_t has, size_t count, const char* name) {
    if (has != 0 && has != count) throw std::invalid_argument(std::string(name) + ": wrong size");
}

// Rows of parameters [rows][channels], each padded.
void pad_rows(std::vector<int32_t>& values, int64_t channels) {
    if (values.empty()) return;
    const int64_t wide = ceil_div(channels, kPanelChannels) * kPanelChannels;
    std::vector<int32_t> rows;
    for (auto row = values.begin(); row != values.end(); row += channels) {
        rows.insert(rows.end(), row, row + channels);
        rows.resize(rows.size() + static_cast<size_t>(wide - channels), 0);
    }
    values = std::move(rows);
}

void pad_integers(IntegerFinish& f, int64_t channels) {
    const auto c = static_cast<size_t>(channels);
    f.channels = channels;
    for (const auto* row : {&f.bound, &f.bias_in, &f.right, &f.left, &f.bias_out, &f.thresholds})
        needs(row->size(), c, "integers");
    if (f.right.size() != f.bias_in.size() || f.left.size() != f.bias_in.size() ||
        f.bias_out.size() != f.bias_in.size())
        throw std::invalid_argument("integers: needed all parts of an activation");
    if (f.scale.digits < 0 || f.scale.digits > kMostDigits)
        throw std::invalid_argument("integers: factors of at most " + std::to_string(kMostDigits) + " digits");
    const size_t digits = static_cast<size_t>(f.scale.digits) * c;
    if (f.scale.shifts.size() != digits || f.scale.negative.size() != digits || f.scale.mask.size() != digits)
        throw std::invalid_argument("integers: needed shifts and signs of every digit");
    const auto shifts = [](const std::vector<int32_t>& values) {
        return std::all_of(values.begin(), values.end(), [](int32_t v) { return v >= 0 && v <= 31; });
    };
    if (!shifts(f.scale.shifts) || !shifts(f.right) || !shifts(f.left) || f.scale.lift < 0 || f.scale.lift > 31)
        throw std::invalid_argument("integers: shifts go from 0 to 31");
    for (auto* row : {&f.scale.shifts, &f.scale.negative, &f.scale.mask, &f.bound, &f.bias_in, &f.right, &f.left,
                      &f.bias_out, &f.thresholds})
        pad_rows(*row, channels);
}

}  // namespace

Finish padded(Finish f, int64_t channels) {
    const auto c = static_cast<size_t>(channels);
    needs(f.scale.size(), c, "scale");
    needs(f.shift.size(), f.scale.empty() ? 0 : c, "shift");
    needs(f.flip.size(), f.sum_thresholds.empty() ? 0 : c, "flip");
    needs(f.sum_thresholds.size(), f.levels.thresholds.size() * c, "sum_thresholds");
    for (auto* row : {&f.activation.scale, &f.activation.shift, &f.activation.bias_in, &f.activation.slope,
                      &f.activation.bias_out}) {
        needs(row->size(), c, "activation");
        pad(*row, channels, 0.0f);
    }
    if (f.integers) pad_integers(*f.integers, channels);
    if (f.levels.planes < 0 || f.levels.planes > kMaxPlanes || f.levels.thresholds.size() > kMaxThresholds)
        throw std::invalid_argument("levels: at most 4 planes and 15 thresholds");
    if (!f.sum_thresholds.empty() && (f.residual >= 0 || f.pool || f.floats || !f.levels.planes))
        throw std::invalid_argument("sum_thresholds: only where nothing but codes is kept");
    pad(f.scale, channels, 0.0f);
    pad(f.shift, channels, 0.0f);
    pad_rows(f.sum_thresholds, channels);
    pad(f.flip, channels, 0);
    return f;
}

namespace {

const int32_t* data_or_none(const std::vector<int32_t>& values) { return values.empty() ? nullptr : values.data(); }

const Buffer& shortcut_of(const Finish& f, const Workspace& workspace) {
    return workspace.buffers[static_cast<size_t>(workspace.adds_in_place ? f.out : f.residual)];
}

void resolve_integers(Finishing& r, const Finish& f, const Workspace& workspace, int64_t images) {
    const IntegerFinish& from = *f.integers;
    IntegerFinishing& to = r.integers;
    const Buffer& out = workspace.buffers[static_cast<size_t>(f.out)];
    to.digits = from.scale.digits, to.lift = from.scale.lift;
    to.padded_channels = ceil_div(r.channels, kPanelChannels) * kPanelChannels;
    to.shifts = data_or_none(from.scale.shifts);
    to.negative = data_or_none(from.scale.negative);
    to.mask = data_or_none(from.scale.mask);
    to.bias_in = data_or_none(from.bias_in);
    to.right = data_or_none(from.right);
    to.left = data_or_none(from.left);
    to.bias_out = data_or_none(from.bias_out);
    to.thresholds = data_or_none(from.thresholds);
    if (f.residual >= 0) to.residual = shortcut_of(f, workspace).integers();
    if (f.floats) to.values = out.integers();
    r.planes = f.levels.planes;
    for (int p = 0; p < r.planes; ++p) r.bits[p] = out.plane(p, images);
}

}  // namespace

Finishing resolved(const Finish& f, const Workspace& workspace, int64_t images) {
    const Buffer& out = workspace.buffers[static_cast<size_t>(f.out)];
    Finishing r;
    r.channels = out.shape.channels;
    r.stride = out.shape.stride();
    r.words = out.shape.words();
    r.pixels = out.shape.pixels();
    // A step that keeps both leaves both in the same way.
    if (f.floats ? out.values_abreast : out.bits_abreast) r.abreast = Abreast::of(images);
    if (f.integers) {
        resolve_integers(r, f, workspace, images);
        return r;
    }
    if (f.activation.used()) {
        const Activation& a = f.activation;
        if (!a.scale.empty()) r.inner_scale = a.scale.data(), r.inner_shift = a.shift.data();
        r.bias_in = a.bias_in.data(), r.slope = a.slope.data(), r.bias_out = a.bias_out.data();
    }
    if (f.residual >= 0) r.residual = shortcut_of(f, workspace).values();
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

Finishing unfinished(const Shape& shape, float* to, Abreast abreast) {
    Finishing f;
    f.abreast = abreast;
    f.pixels = shape.pixels();
    f.channels = shape.channels;
    f.stride = shape.stride();
    f.floats = to;
    return f;
}

namespace {

Operations integer_operations(const Finish& f, int64_t values) {
    const IntegerFinish& i = *f.integers;
    Operations o;
    if (i.scale.digits) {
        const int64_t pixels = values / i.channels, wide = static_cast<int64_t>(i.scale.mask.size()) / i.scale.digits;
        for (int64_t c = 0; c < i.channels; ++c) {
            int64_t digits = 0;
            for (int d = 0; d < i.scale.digits; ++d) digits += i.scale.mask[static_cast<size_t>(d * wide + c)] != 0;
            o.shifts += pixels * digits;
            o.additions += pixels * std::max<int64_t>(digits - 1, 0);
        }
    }
    o.multiplications += i.one != 0 ? values : 0;  // from floats
    o.additions += f.residual >= 0 ? values : 0;
    if (!i.bias_in.empty()) o.additions += 2 * values, o.comparisons += values, o.shifts += values;
    o.comparisons += i.thresholds.empty() ? 0 : values;
    return o;
}

}  // namespace

Operations operations_of(const Finish& f, int64_t values, bool from_sums) {
    if (f.integers) return integer_operations(f, values);
    Operations o;
    if (!f.sum_thresholds.empty()) {
        o.comparisons = values * static_cast<int64_t>(f.levels.thresholds.size());
        return o;
    }
    if (from_sums) o.multiplications += values;
    if (f.activation.used()) {
        o.additions += 2 * values, o.multiplications += values, o.comparisons += values;
        if (!f.activation.scale.empty()) o.additions += values, o.multiplications += values;
    }
    if (f.residual >= 0) o.additions += values;
    if (f.pool) o.comparisons += 3 * values;
    if (!f.scale.empty()) o.additions += values, o.multiplications += values;
    if (f.clamp) o.comparisons += 2 * values;
    o.comparisons += values * static_cast<int64_t>(f.levels.thresholds.size());
    return o;
}

int64_t float_bytes(const Shape& shape, int64_t images) {
    return ceil_div(images * shape.pixels() * shape.stride() * static_cast<int64_t>(sizeof(float)), 64) * 64;
}

int64_t float_bytes_either_way(const Shape& shape, int64_t images) {
    if (images < usual_code().vertical_images) return float_bytes(shape, images);
    return std::max(float_bytes(shape, images), Abreast::of(images).value_bytes(shape.channels, shape.pixels()));
}

Shape shape_of_output(const ConvGeometry& g, bool pool) {
    const int64_t by = pool ? 2 : 1;
    return {g.out_channels, g.out_height() / by, g.out_width() / by};
}

}  // namespace bnnkit::deploy
