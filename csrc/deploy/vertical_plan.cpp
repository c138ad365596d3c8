#include "vertical_plan.h"

#include <algorithm>
#include <bit>
#include <map>

#include "step.h"

namespace bnnkit::deploy {
namespace {

int planes_for(int64_t largest) { return std::bit_width(static_cast<uint64_t>(largest)); }

int thresholds_of(const AdcArgs& adc) { return adc.level_count > 0 ? adc.level_count - 1 : 0; }

bool even(const AdcArgs& adc) {
    for (int i = 2; i < adc.level_count; ++i)
        if (int64_t{adc.levels[i]} - adc.levels[i - 1] != int64_t{adc.levels[1]} - adc.levels[0]) return false;
    return true;
}

int64_t ceil_half(int64_t v) { return (v >> 1) + (v & 1); }

}  // namespace

// A row of an array: the bit of its weights, and where its activations lie.
struct VerticalPlan::Row {
    int64_t bit;  // of a row of packed weights
    int32_t offset;
};

bool VerticalPlan::suits(const AdcArgs& adc, bool gated) {
    const BinaryConv& conv = adc.conv;
    const int64_t rows = conv.layout.taps * conv.layout.channels;
    return conv.w_planes == 1 && conv.geometry.groups == 1 && adc.level_count != 1 && even(adc) &&
           planes_for(rows) + 1 + (gated ? kGatedPlanes : 0) <= kMostVerticalPlanes &&
           planes_for(conv.layout.arrays() * thresholds_of(adc)) <= 8;
}

VerticalPlan::VerticalPlan(const AdcArgs& adc, const BorderClasses& borders, const VerticalCodes& codes,
                           int64_t largest_sum, int64_t columns) {
    const BinaryConv& conv = adc.conv;
    const ConvGeometry& g = conv.geometry;
    VerticalLists& l = lists_;
    l.columns = columns;
    place(g);
    l.outputs = g.out_channels;
    l.padded_outputs = ceil_div(l.outputs, kPanelChannels) * kPanelChannels;
    find_patterns(borders);
    auto arrays = rows_of_arrays(conv);
    const bool converts = adc.level_count > 0;
    if (!converts) {  // one array, of any number of rows
        for (size_t s = 1; s < arrays.size(); ++s)
            arrays[0].insert(arrays[0].end(), arrays[s].begin(), arrays[s].end());
        arrays.resize(1);
    }
    l.arrays = static_cast<int>(arrays.size());
    l.thresholds = thresholds_of(adc);
    negative_.assign(static_cast<size_t>(l.padded_outputs), 0);
    // Sums fit 32 bits; a step between the two ends of the range need not, and then wraps, as its product does.
    gain_ = converts ? int64_t{adc.levels[1]} - adc.levels[0] : 2;
    l.gain = static_cast<int32_t>(gain_);
    l.sums_are_short = largest_sum < 1 << 15;
    start_.assign(static_cast<size_t>(l.padded_outputs * borders.count()), 0);
    limits_.resize(patterns_.size() * static_cast<size_t>(l.outputs * l.arrays * l.thresholds * columns));

    rows_end_.push_back(0);
    for (const auto& rows : arrays) {
        total_planes_.push_back(std::max(1, planes_for(static_cast<int64_t>(rows.size()))));
        for (const Row& row : rows) rows_.push_back(row.offset);
        fill_up(rows_, rows_end_);
    }
    l.sum_planes = converts ? planes_for(int64_t{l.arrays} * l.thresholds) : total_planes_[0] + 1;

    const int64_t row_words = conv.layout.row_words();
    chosen_end_.push_back(0);
    std::vector<int64_t> k(static_cast<size_t>(borders.count()));
    std::array<bool, kPair> sums_ones{};
    for (int array = 0; array < l.arrays; ++array)
        for (int64_t output = 0; output < l.outputs; ++output) {
            const uint64_t* w = conv.w + output * row_words;
            if (output % kPair == 0)
                sums_ones = choose_rows(arrays[static_cast<size_t>(array)], w, l.outputs - output, row_words);
            inverted_.push_back(sums_ones[output % kPair] ? 0 : ~uint64_t{0});
            const int64_t first = converts ? array * conv.layout.array_words() : 0;
            const int64_t end = converts ? first + conv.layout.array_words() : row_words;
            for (int32_t c = 0; c < borders.count(); ++c) {
                int64_t ones_inside = 0;
                for (int64_t word = first; word < end; ++word)
                    ones_inside += std::popcount(w[word] & borders.mask(c)[word]);
                k[static_cast<size_t>(c)] =
                    2 * ones_inside - (converts ? borders.valid_rows(c, array) : borders.valid_rows(c));
            }
            if (converts)
                find_limits(adc, output, array, k, sums_ones[output % kPair]);
            else
                find_starts(output, k, sums_ones[output % kPair]);
        }
    if (converts) std::fill(start_.begin(), start_.end(), l.arrays * adc.levels[0]);
    if (codes.thresholds) {
        find_codes(codes);
        l.code_limits = code_limits_.data(), l.code_inverted = code_inverted_.data();
    }
    l.total_planes = total_planes_.data();
    l.rows = rows_.data(), l.chosen = chosen_.data();
    l.rows_end = rows_end_.data(), l.chosen_end = chosen_end_.data();
    l.inverted = inverted_.data(), l.pattern = pattern_.data(), l.limits = limits_.data();
    l.negative = negative_.data(), l.start = start_.data(), l.first_start = first_start_.data();
}

// Lists the rows that two outputs add, whose weights begin at `w`, or the last output alone. Returns of which weights each adds the
// rows.
std::array<bool, kPair> VerticalPlan::choose_rows(const std::vector<Row>& rows, const uint64_t* w, int64_t outputs,
                                                  int64_t row_words) {
    const auto weight_of = [&](int output, int64_t bit) {
        return output < outputs && (w[output * row_words + bit / kWordBits] >> (bit % kWordBits) & 1) != 0;
    };
    std::vector<uint8_t> weights;  // of the first output, + 2 * that of the second
    int64_t occurring[1 << kPair] = {};
    for (const Row& row : rows) {
        weights.push_back(static_cast<uint8_t>(weight_of(0, row.bit) + 2 * weight_of(1, row.bit)));
        ++occurring[weights.back()];
    }
    const int most = outputs < kPair ? 2 : 4;  // without a second output, its weights are all 0
    const auto left_out = static_cast<int>(std::max_element(occurring, occurring + most) - occurring);
    for (const int added : {3, 1, 2}) {
        for (size_t i = 0; i < rows.size(); ++i)
            if ((weights[i] ^ left_out) == added) chosen_.push_back(rows[i].offset);
        fill_up(chosen_, chosen_end_);
    }
    return {(left_out & 1) == 0, (left_out & 2) == 0};
}

void VerticalPlan::fill_up(std::vector<int32_t>& list, std::vector<int64_t>& ends) const {
    while (list.size() % 8 != 0) list.push_back(static_cast<int32_t>(lists_.channels * lists_.channel_words));
    ends.push_back(static_cast<int64_t>(list.size()));
}

// `k` is K by border class, see vertical_plan.h.
void VerticalPlan::find_starts(int64_t output, const std::vector<int64_t>& k, bool sums_ones) {
    const int64_t full = int64_t{1} << total_planes_[0];
    negative_[static_cast<size_t>(output)] = sums_ones ? 0 : -1;
    for (size_t c = 0; c < k.size(); ++c)
        start_[c * static_cast<size_t>(lists_.padded_outputs) + static_cast<size_t>(output)] =
            static_cast<int32_t>((sums_ones ? -2 : 2) * (full - 1) - k[c]);
}

void VerticalPlan::find_limits(const AdcArgs& adc, int64_t output, int array, const std::vector<int64_t>& k,
                               bool sums_ones) {
    const VerticalLists& l = lists_;
    const int64_t full = int64_t{1} << total_planes_[static_cast<size_t>(array)];
    for (size_t pattern = 0; pattern < patterns_.size(); ++pattern) {
        const int64_t list = (static_cast<int64_t>(pattern) * l.arrays + array) * l.outputs + output;
        int32_t* to = limits_.data() + list * l.thresholds * l.columns;
        for (int j = 0; j < l.thresholds; ++j)
            for (const int32_t border_class : patterns_[pattern]) {
                const int64_t needed = ceil_half(k[static_cast<size_t>(border_class)] + adc.thresholds[j]);
                const int64_t limit = sums_ones ? needed + full - 1 : full - needed;
                *to++ = static_cast<int32_t>(~std::clamp<int64_t>(limit, 0, 2 * full));
            }
    }
}

// gain * number + start >= threshold, or the same of the negative sum, restated on the number.
void VerticalPlan::find_codes(const VerticalCodes& codes) {
    const VerticalLists& l = lists_;
    const int64_t largest = int64_t{1} << l.sum_planes;  // past all numbers
    const auto flips = [&](int64_t output) { return codes.flip && codes.flip[output] != 0; };
    const auto gain_of = [&](int64_t output) {
        return flips(output) != (negative_[static_cast<size_t>(output)] != 0) ? -gain_ : gain_;
    };
    for (int64_t output = 0; output < l.outputs; ++output)
        code_inverted_.push_back(gain_of(output) < 0 ? ~uint64_t{0} : 0);
    for (const std::vector<int32_t>& pattern : patterns_)
        for (int64_t output = 0; output < l.outputs; ++output)
            for (const int32_t border_class : pattern) {
                const int64_t sign = flips(output) ? -1 : 1, gain = gain_of(output);
                const int64_t start = sign * start_[static_cast<size_t>(border_class * l.padded_outputs + output)];
                const int64_t needed = codes.thresholds[output] - start;  // gain * number >= needed
                int64_t limit = needed <= 0 ? 0 : largest;                // of gain 0
                if (gain > 0) limit = needed <= 0 ? 0 : ceil_div(needed, gain);
                // number <= floor(-needed / -gain): it does not reach one more.
                if (gain < 0) limit = needed > 0 ? 0 : -needed / -gain + 1;
                code_limits_.push_back(static_cast<int32_t>(~std::clamp<int64_t>(limit, 0, largest)));
            }
}

void VerticalPlan::place(const ConvGeometry& g) {
    VerticalLists& l = lists_;
    l.channels = g.channels, l.height = g.height, l.width = g.width;
    l.pad_h = g.pad_h, l.pad_w = g.pad_w, l.stride_h = g.stride_h, l.stride_w = g.stride_w;
    l.out_height = g.out_height(), l.out_width = g.out_width();
    l.row_patterns = ceil_div(l.out_width, l.columns);
    // The last vector of a row may read past the last column.
    const int64_t reach = (g.kernel_w - 1) * g.dilation_w / g.stride_w + l.row_patterns * l.columns;
    l.phase_words = std::max(ceil_div(g.width + 2 * g.pad_w, g.stride_w), reach);
    l.row_words = l.phase_words * g.stride_w;
    l.channel_words = l.row_words * (g.height + 2 * g.pad_h);
}

std::vector<std::vector<VerticalPlan::Row>> VerticalPlan::rows_of_arrays(const BinaryConv& conv) const {
    const ConvGeometry& g = conv.geometry;
    const ArrayLayout& layout = conv.layout;
    std::vector<std::vector<Row>> arrays(static_cast<size_t>(layout.arrays()));
    for (int64_t tap = 0; tap < layout.taps; ++tap)
        for (int64_t channel = 0; channel < layout.channels; ++channel) {
            const int64_t chunk = channel / layout.channels_per_array, in_chunk = channel % layout.channels_per_array;
            const int64_t array = layout.tap ? tap * layout.chunks() + chunk : chunk;
            const int64_t bit = layout.tap ? in_chunk : tap * layout.channels_per_array + in_chunk;
            const int64_t y = tap / g.kernel_w * g.dilation_h, x = tap % g.kernel_w * g.dilation_w;
            const int64_t offset = channel * lists_.channel_words + y * lists_.row_words +
                                   x % g.stride_w * lists_.phase_words + x / g.stride_w;
            arrays[static_cast<size_t>(array)].push_back(
                {array * layout.array_words() * kWordBits + bit, static_cast<int32_t>(offset)});
        }
    return arrays;
}

void VerticalPlan::find_patterns(const BorderClasses& borders) {
    std::map<std::vector<int32_t>, int32_t> index;
    for (int64_t y = 0; y < lists_.out_height; ++y) {
        for (int64_t x = 0; x < lists_.out_width; ++x)
            first_start_.push_back(static_cast<int32_t>(borders.of_pixel(y, x) * lists_.padded_outputs));
        for (int64_t first = 0; first < lists_.out_width; first += lists_.columns) {
            std::vector<int32_t> classes;
            for (int64_t x = first; x < first + lists_.columns; ++x)
                classes.push_back(borders.of_pixel(y, std::min(x, lists_.out_width - 1)));
            const auto [found, is_new] = index.emplace(classes, static_cast<int32_t>(patterns_.size()));
            if (is_new) patterns_.push_back(classes);
            pattern_.push_back(found->second);
        }
    }
}

}  // namespace bnnkit::deploy
