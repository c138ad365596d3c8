#include "finish.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace bnnkit::deploy {

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

Shape shape_of_output(const ConvGeometry& g, bool pool) {
    const int64_t by = pool ? 2 : 1;
    return {g.out_channels, g.out_height() / by, g.out_width() / by};
}

}  // namespace bnnkit::deploy
