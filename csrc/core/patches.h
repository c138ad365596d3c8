// Gathering the packed patch of every output pixel, and which of its word lines are padding.
//
// A padded tap is neither +1 nor -1: it contributes nothing. Pixels at the border therefore need a mask of their valid bits, or
// what follows from it (see border_table.h), and the number of valid rows of each array. Many pixels share the same valid
// taps, so these are made once per border class; class 0 has every tap valid, whether or not some pixel belongs to it.
#pragma once

#include <memory>
#include <vector>

#include "geometry.h"

namespace bnnkit {

class BorderClasses {
public:
    BorderClasses(const ConvGeometry& geometry, const ArrayLayout& layout);

    int32_t count() const { return static_cast<int32_t>(valid_rows_.size()); }
    int32_t of_pixel(int64_t oy, int64_t ox) const {
        return class_of_[row_kind_[oy] * column_kinds_ + column_kind_[ox]];
    }
    // Valid bits of a gathered row, `layout.row_words()` words.
    const uint64_t* mask(int32_t border_class) const { return masks_[border_class].data(); }
    int64_t valid_rows(int32_t border_class, int64_t array) const { return valid_rows_[border_class][array]; }
    int64_t valid_rows(int32_t border_class) const { return total_rows_[border_class]; }

private:
    int32_t add(const ArrayLayout& layout, const std::vector<bool>& valid_taps);

    std::vector<int32_t> row_kind_, column_kind_;  // per output row, per output column
    int64_t column_kinds_ = 0;
    std::vector<int32_t> class_of_;  // per pair of kinds
    std::vector<std::vector<uint64_t>> masks_;
    std::vector<std::vector<int64_t>> valid_rows_;
    std::vector<int64_t> total_rows_;
};

}  // namespace bnnkit
