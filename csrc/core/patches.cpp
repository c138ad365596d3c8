#include "patches.h"

#include <map>

namespace bnnkit {
namespace {

// For each output coordinate, the set of kernel coordinates that fall inside the input, numbered by first appearance.
struct Kinds {
    std::vector<int32_t> of_output;
    std::vector<std::vector<bool>> valid;
};

Kinds kinds_along(int64_t outputs, int64_t inputs, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
    Kinds kinds;
    std::map<std::vector<bool>, int32_t> seen;
    for (int64_t o = 0; o < outputs; ++o) {
        std::vector<bool> valid(static_cast<size_t>(kernel));
        for (int64_t k = 0; k < kernel; ++k) {
            const int64_t i = o * stride - pad + k * dilation;
            valid[k] = i >= 0 && i < inputs;
        }
        const auto [entry, fresh] = seen.emplace(valid, static_cast<int32_t>(kinds.valid.size()));
        if (fresh) kinds.valid.push_back(valid);
        kinds.of_output.push_back(entry->second);
    }
    return kinds;
}

void set_bits(std::vector<uint64_t>& words, int64_t begin, int64_t count) {
    for (int64_t i = begin; i < begin + count; ++i) words[i / kWordBits] |= uint64_t{1} << (i % kWordBits);
}

}  // namespace

BorderClasses::BorderClasses(const ConvGeometry& g, const ArrayLayout& layout) {
    const Kinds rows = kinds_along(g.out_height(), g.height, g.kernel_h, g.stride_h, g.pad_h, g.dilation_h);
    const Kinds columns = kinds_along(g.out_width(), g.width, g.kernel_w, g.stride_w, g.pad_w, g.dilation_w);
    row_kind_ = rows.of_output;
    column_kind_ = columns.of_output;
    column_kinds_ = static_cast<int64_t>(columns.valid.size());

    const std::vector<bool> all(static_cast<size_t>(g.taps()), true);
    add(layout, all);
    for (const auto& row : rows.valid) {
        for (const auto& column : columns.valid) {
            std::vector<bool> taps;
            for (bool r : row)
                for (bool c : column) taps.push_back(r && c);
            class_of_.push_back(taps == all ? 0 : add(layout, taps));
        }
    }
}

int32_t BorderClasses::add(const ArrayLayout& layout, const std::vector<bool>& valid_taps) {
    std::vector<uint64_t> mask(static_cast<size_t>(layout.row_words()), 0);
    std::vector<int64_t> valid_rows(static_cast<size_t>(layout.arrays()), 0);
    int64_t total = 0;
    for (int64_t tap = 0; tap < layout.taps; ++tap) {
        if (!valid_taps[tap]) continue;
        for (int64_t chunk = 0; chunk < layout.chunks(); ++chunk) {
            const int64_t array = layout.tap ? tap * layout.chunks() + chunk : chunk;
            const int64_t bit =
                array * layout.array_words() * kWordBits + (layout.tap ? 0 : tap * layout.channels_per_array);
            set_bits(mask, bit, layout.chunk_channels(chunk));
            valid_rows[array] += layout.chunk_channels(chunk);
            total += layout.chunk_channels(chunk);
        }
    }
    masks_.push_back(std::move(mask));
    valid_rows_.push_back(std::move(valid_rows));
    total_rows_.push_back(total);
    return count() - 1;
}

}  // namespace bnnkit
