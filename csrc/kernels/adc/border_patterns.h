// Which neighbouring output pixels have which border classes: vectors of pixels, counted over the whole batch, repeat few patterns
// where blocks of them hold whole images, or images whole blocks.
#pragma once

#include <vector>

#include "../../core/patches.h"

namespace bnnkit {

// The largest such block of at most `most` pixels.
int64_t block_of_whole_images(const ConvGeometry& geometry, int64_t most);

class BorderPatterns {
public:
    // The pixels of a vector that belong to one border class, 64 of them per word.
    struct Part {
        int32_t border_class;
        const uint64_t* pixels;
    };

    // Of blocks of so many pixels, in vectors of `lanes` pixels, a multiple of 64. No more than `most` patterns are looked for.
    BorderPatterns(const ConvGeometry& geometry, const BorderClasses& borders, int64_t block, int64_t lanes,
                   int64_t most);

    int64_t block() const { return block_; }
    // How many patterns there are; 0: more than `most`.
    int64_t count() const { return static_cast<int64_t>(parts_.size()); }
    // Of a vector of the block that begins at a pixel.
    int32_t at(int64_t pixel, int64_t vector) const { return of_vector_[pixel / block_ % period_ * vectors_ + vector]; }
    int64_t parts(int64_t pattern) const { return static_cast<int64_t>(parts_[pattern].size()); }
    Part part(int64_t pattern, int64_t index) const {
        const Pixels& part = parts_[pattern][index];
        return {part.border_class, part.words.data()};
    }

private:
    struct Pixels {
        int32_t border_class;
        std::vector<uint64_t> words;
    };

    int64_t block_, vectors_, period_;
    std::vector<int32_t> of_vector_;
    std::vector<std::vector<Pixels>> parts_;
};

}  // namespace bnnkit
