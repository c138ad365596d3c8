#include "panels.h"

namespace bnnkit {

Panels::Panels(const BinaryConv& conv, int64_t columns)
    : columns_(columns),
      panels_(ceil_div(conv.geometry.group_outputs(), columns)),
      row_words_(conv.layout.row_words()),
      planes_(conv.w_planes) {
    constexpr int64_t kLineWords = 8;  // whole vectors start on cache lines
    const int64_t outputs = conv.geometry.group_outputs(), groups = conv.geometry.groups;
    storage_.assign(static_cast<size_t>(groups * panels_ * planes_ * plane_stride() + kLineWords), 0);
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    aligned_ = storage_.data() + (64 - address % 64) % 64 / sizeof(uint64_t);
    for (int64_t group = 0; group < groups; ++group) {
        for (int64_t output = 0; output < outputs; ++output) {
            for (int64_t plane = 0; plane < planes_; ++plane) {
                const uint64_t* row = conv.w + plane * conv.w_plane_words() + (group * outputs + output) * row_words_;
                uint64_t* out =
                    const_cast<uint64_t*>(panel(group, output / columns)) + plane * plane_stride() + output % columns;
                for (int64_t word = 0; word < row_words_; ++word) out[word * columns] = row[word];
            }
        }
    }
}

}  // namespace bnnkit
