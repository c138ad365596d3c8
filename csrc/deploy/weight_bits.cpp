#include "weight_bits.h"

namespace bnnkit::deploy {

std::vector<uint64_t> arranged(const uint8_t* bits, int planes, int64_t outputs, const ArrayLayout& layout) {
    const int64_t row_words = layout.row_words(), row_bits = layout.channels * layout.taps;
    std::vector<int64_t> places(static_cast<size_t>(row_bits));  // of a row's values
    for (int64_t c = 0; c < layout.channels; ++c)
        for (int64_t tap = 0; tap < layout.taps; ++tap) {
            const int64_t chunk = c / layout.channels_per_array, within = c % layout.channels_per_array;
            const int64_t array = layout.tap ? tap * layout.chunks() + chunk : chunk;
            places[static_cast<size_t>(c * layout.taps + tap)] =
                array * layout.array_words() * kWordBits + within + (layout.tap ? 0 : tap * layout.channels_per_array);
        }
    std::vector<uint64_t> rows(static_cast<size_t>(planes * outputs * row_words), 0);
    uint64_t* row = rows.data();
    for (int64_t r = 0, bit = 0; r < planes * outputs; ++r, row += row_words)
        for (const int64_t place : places) {
            const uint64_t value = bits[bit / 8] >> (bit % 8) & 1;
            row[place / kWordBits] |= value << (place % kWordBits);
            ++bit;
        }
    return rows;
}

}  // namespace bnnkit::deploy
