// Images abreast: how values and bits lie where many images are counted at a time (vertical_plan.h), so that what happens to a
// channel happens to 16 images at once, and the bits of the next layer need not be turned.
//
// Values are [channel][pixel][lanes]: the images of a chunk side by side. A plane of bits is [channel][pixel]: a word that holds one
// bit of every image.
#pragma once

#include "../core/geometry.h"

namespace bnnkit::deploy {

struct Abreast {
    int64_t lanes;  // 0: images are not abreast

    static Abreast of(int64_t images) { return {ceil_div(images, 16) * 16}; }

    int64_t word_bytes() const { return lanes > 32 ? 8 : 4; }
    int64_t value_bytes(int64_t channels, int64_t pixels) const { return channels * pixels * lanes * 4; }
    int64_t plane_bytes(int64_t channels, int64_t pixels) const {
        return ceil_div(channels * pixels * word_bytes(), 64) * 64;
    }
};

}  // namespace bnnkit::deploy
