#include "prepared.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "../../core/aligned.h"

namespace bnnkit {
namespace {

template <class T>
std::vector<T> spread(const T* values, int64_t rows, int64_t converters, int64_t outputs, int64_t columns) {
    std::vector<T> wide(static_cast<size_t>(rows * columns), T{0});
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t o = 0; o < outputs; ++o)
            wide[static_cast<size_t>(row * columns + o)] = values[row * converters + (converters == 1 ? 0 : o)];
    return wide;
}

}  // namespace

uint8_t code_of(const BitSerialArgs& args, int64_t pair, int64_t v) {
    if (args.conversion == Conversion::table)
        return args.codes[pair * (args.high - args.low + 1) + std::clamp(v, args.low, args.high) - args.low];
    const float product = static_cast<float>(v) * args.gain[pair];
    return static_cast<uint8_t>(std::clamp(std::nearbyint(product + args.shift[pair]), 0.0f, args.top));
}

Prepared::Prepared(const BitSerialArgs& args, int64_t panel_outputs)
    : args(args),
      panel_outputs(panel_outputs),
      panels(ceil_div(args.conv.geometry.out_channels, panel_outputs)),
      planes(0),
      pairs(args.pairs()),
      steps(args.conv.layout.row_words() * (kWordBits / kStepRows)),
      array_rows(args.conv.layout.array_words() * kWordBits),
      weight_storage_(nullptr, std::free) {
    const int64_t outputs = args.conv.geometry.out_channels;
    bool dummies = false;
    for (int c = 0; c < args.slices; ++c) {
        first_plane[c] = static_cast<int>(planes);
        planes += args.slice_planes[c];
        dummies |= args.dummy[c] != 0;
    }
    first_plane[args.slices] = static_cast<int>(planes);
    needs_active = args.noise.amplitude || (args.planes && dummies);
    if (args.planes)
        set_planes();
    else
        set_cells();
    if (args.histogram) {
        doubles_.resize(static_cast<size_t>((pairs + 2) * columns()), 0.0);  // no output is asked for
        factor = doubles_.data();
        base = factor + pairs * columns();
        bias = base + columns();
        return;
    }
    if (args.conversion == Conversion::affine) {
        const auto gains = spread(args.gain, pairs, args.converters, outputs, columns());
        const auto shifts = spread(args.shift, pairs, args.converters, outputs, columns());
        floats_ = gains;
        floats_.insert(floats_.end(), shifts.begin(), shifts.end());
        gain = floats_.data();
        shift = gain + gains.size();
    }
    doubles_ = spread(args.factor, pairs, args.converters, outputs, columns());
    const auto bases = spread(args.base, 1, args.converters, outputs, columns());
    doubles_.insert(doubles_.end(), bases.begin(), bases.end());
    doubles_.resize(static_cast<size_t>((pairs + 2) * columns()), 0.0);
    for (int64_t o = 0; args.bias && o < outputs; ++o)
        doubles_[static_cast<size_t>((pairs + 1) * columns() + o)] = args.bias[o];
    factor = doubles_.data();
    base = factor + pairs * columns();
    bias = base + columns();
    set_lookup();
}

void Prepared::set_planes() {
    const int64_t outputs = args.conv.geometry.out_channels, words = args.conv.layout.row_words();
    const int64_t bytes = panels * planes * steps * panel_outputs * static_cast<int64_t>(sizeof(int16_t));
    weight_storage_.reset(allocate_lines(bytes));
    auto* to = reinterpret_cast<uint16_t*>(weight_storage_.get());
    weights = reinterpret_cast<int16_t*>(to);
    for (int64_t panel = 0; panel < panels; ++panel)
        for (int64_t p = 0; p < planes; ++p, to += steps * panel_outputs)
            for (int64_t lane = 0; lane < panel_outputs; ++lane) {
                const int64_t o = panel * panel_outputs + lane;
                const uint64_t* row = args.planes + (p * outputs + o) * words;
                for (int64_t step = 0; step < steps; ++step)
                    to[step * panel_outputs + lane] =
                        o < outputs ? static_cast<uint16_t>(row[step / 4] >> (step % 4 * kStepRows)) : uint16_t{0};
            }
}

void Prepared::set_cells() {
    const int64_t outputs = args.conv.geometry.out_channels, rows = args.conv.layout.row_words() * kWordBits;
    const int64_t bytes = panels * args.slices * rows * panel_outputs * static_cast<int64_t>(sizeof(int16_t));
    weight_storage_.reset(allocate_lines(bytes));
    auto* to = reinterpret_cast<int16_t*>(weight_storage_.get());
    weights = to;
    for (int64_t panel = 0; panel < panels; ++panel)
        for (int64_t c = 0; c < args.slices; ++c, to += rows * panel_outputs)
            for (int64_t first = 0; first < rows; first += 32)  // a cache line of each column at a time
                for (int64_t lane = 0; lane < panel_outputs; ++lane) {
                    const int64_t o = panel * panel_outputs + lane;
                    const int16_t* row = args.cells + (c * outputs + o) * rows;
                    for (int64_t r = first; r < first + 32; ++r)
                        to[r * panel_outputs + lane] = o < outputs ? row[r] : int16_t{0};
                }
}

void Prepared::set_lookup() {
    const ArrayLayout& layout = args.conv.layout;
    const int64_t rows = layout.channels_per_array * (layout.tap ? 1 : layout.taps);
    lookup = args.planes && args.conversion != Conversion::none && args.converters == 1 && rows <= kLookupCounts;
    for (int c = 0; c < args.slices; ++c) lookup &= args.slice_planes[c] == 1 && args.dummy[c] == 0;
    if (!lookup) return;
    bytes_.resize(static_cast<size_t>(pairs * (kLookupCounts + 1)));
    for (int64_t pair = 0; pair < pairs; ++pair) {
        const int64_t weight = args.plane_weight[pair % args.slices];
        for (int64_t count = 0; count < kLookupCounts; ++count)
            bytes_[static_cast<size_t>(pair * kLookupCounts + count)] = code_of(args, pair, weight * count);
        bytes_[static_cast<size_t>(pairs * kLookupCounts + pair)] = code_of(args, pair, weight * kLookupCounts);
    }
    count_codes = bytes_.data();
    codes_of_128 = count_codes + pairs * kLookupCounts;
    bool clamped = true;
    for (int64_t pair = 0; pair < pairs; ++pair)
        clamped &= count_codes[(pair + 1) * kLookupCounts - 1] == codes_of_128[pair];
    counts = rows < kLookupCounts ? Counts::below_128 : clamped ? Counts::clamped : Counts::up_to_128;
}

}  // namespace bnnkit
