// Weight rows re-laid so that output channels lie in the vector lanes: "columns in the lanes, never K".
//
// Panel b of a group holds the words of `columns` neighbouring output channels as [plane][word][column]; columns past the
// group's last output are zero. Reading along a patch then meets one contiguous vector per word, and no horizontal sum.
#pragma once

#include <vector>

#include "binary_conv.h"

namespace bnnkit {

class Panels {
public:
    Panels(const BinaryConv& conv, int64_t columns);

    int64_t columns() const { return columns_; }
    int64_t per_group() const { return panels_; }
    int64_t plane_stride() const { return row_words_ * columns_; }
    const uint64_t* panel(int64_t group, int64_t index) const {
        return aligned_ + (group * panels_ + index) * planes_ * plane_stride();
    }

private:
    int64_t columns_, panels_, row_words_, planes_;
    std::vector<uint64_t> storage_;
    uint64_t* aligned_;
};

}  // namespace bnnkit
