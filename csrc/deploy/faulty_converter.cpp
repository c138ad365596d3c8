#include "faulty_converter.h"

#include <stdexcept>
#include <utility>

#include "../core/counter.h"

namespace bnnkit::deploy {
namespace {

constexpr uint32_t kNoImage = 0xffffffffu;  // tells bits of codes from noise, whose next key is the image

// [arrays][outputs] -> [arrays][padded]
template <class T>
void pad_outputs(std::vector<T>& values, int64_t arrays, int64_t outputs, int64_t padded, T fill, const char* name) {
    if (values.empty()) return;
    if (static_cast<int64_t>(values.size()) != arrays * outputs)
        throw std::invalid_argument(std::string(name) + ": needed one per array and output");
    std::vector<T> wide;
    for (auto row = values.begin(); row != values.end(); row += outputs) {
        wide.insert(wide.end(), row, row + outputs);
        wide.resize(wide.size() + static_cast<size_t>(padded - outputs), fill);
    }
    values = std::move(wide);
}

template <class T>
const T* data_or_none(const std::vector<T>& values) {
    return values.empty() ? nullptr : values.data();
}

}  // namespace

FaultyConverter::FaultyConverter(const ConverterFaults& faults, const std::vector<int32_t>& levels,
                                 const ArrayLayout& layout, int64_t outputs)
    : faults_(faults), levels_(levels) {
    if (levels.empty()) throw std::invalid_argument("converter faults: sums without a converter have none");
    if (faults_.thresholds.size() + 1 != levels.size())
        throw std::invalid_argument("thresholds: needed one less than levels");
    if (!faults_.noise.empty() && static_cast<int64_t>(faults_.noise.size()) != kQuantiles)
        throw std::invalid_argument("noise: needed 4096 quantiles");
    if (faults_.bits.kind == BitKind::stuck0 || faults_.bits.kind == BitKind::stuck1)
        throw std::invalid_argument("bits: those of codes are flipped or random");
    const int64_t arrays = layout.arrays(), padded = ceil_div(outputs, kPanelChannels) * kPanelChannels;
    for (int32_t code : faults_.stuck)
        if (code < -1 || code >= static_cast<int32_t>(levels.size()))
            throw std::invalid_argument("stuck: needed codes of the converter, or -1");
    pad_outputs(faults_.gain, arrays, outputs, padded, 0, "gain");
    pad_outputs(faults_.offset, arrays, outputs, padded, int64_t{0}, "offset");
    pad_outputs(faults_.stuck, arrays, outputs, padded, -1, "stuck");
    plan_.thresholds = faults_.thresholds.data();
    plan_.levels = levels_.data();
    plan_.level_count = static_cast<int>(levels_.size());
    while (1 << plan_.bits < plan_.level_count) ++plan_.bits;
    plan_.gain = data_or_none(faults_.gain);
    plan_.offset = data_or_none(faults_.offset);
    plan_.noise = data_or_none(faults_.noise);
    plan_.stuck = data_or_none(faults_.stuck);
    plan_.padded_outputs = padded;
    plan_.noise_state = faults_.state;
    plan_.bit_faults = faults_.bits;
    plan_.bit_faults.state = counter_step(faults_.state, kNoImage);
}

}  // namespace bnnkit::deploy
