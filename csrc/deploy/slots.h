// The bits that a layer on arrays reads, as its gatherer wants them: each chunk of channels in words of its own.
//
// Where the words of a pixel are like that already and no bit is faulty, they are read where they lie. Else they are
// copied, and faults are in the copy only, for other layers may read the same bits. Padding is no input: it has none.
#pragma once

#include <optional>
#include <vector>

#include "../core/geometry.h"
#include "code.h"
#include "faults.h"
#include "step.h"

namespace bnnkit::deploy {

class Slots {
public:
    // `flatten`: all values of an image are one pixel's channels, in the order channel, row, column. `by_chunk`: each chunk has
    // a plane of its own, see BinaryConv.
    Slots(const Shape& in, const ArrayLayout& layout, int planes, bool flatten, bool by_chunk,
          std::optional<BitFaults> faults, const Code& code);

    int64_t scratch_bytes(int64_t images) const;

    // [planes][images][pixels][layout.pixel_words()], in `scratch` or in the source itself; by chunk
    // [planes][layout.chunks()][images][pixels].
    const uint64_t* fill(const Workspace& workspace, const Buffer& source, int64_t images,
                         unsigned char* scratch) const;

    Hits take_hits() const { return hits_.take(); }

private:
    // A slot word: some bits of one or two words of a pixel.
    struct Slot {
        int64_t low, high;
        uint64_t shift, mask;
    };

    std::vector<Slot> slots_of_pixel() const;
    bool in_place() const { return is_dense_ && !faults_; }
    bool has_faults(int plane) const;
    int64_t copied_words(int64_t images) const;
    int64_t faulty_words() const { return faults_ ? in_.pixels() * in_.words() : 0; }
    int64_t flat_words() const { return flatten_ ? words_for(layout_.channels) : 0; }
    void flatten(const uint64_t* from, uint64_t* flat) const;
    uint64_t* spread(const uint64_t* dense, uint64_t* to) const;
    void spread_by_chunk(const uint64_t* dense, int64_t images, uint64_t* to) const;

    const Shape in_;
    const ArrayLayout layout_;
    const int planes_;
    const bool flatten_, by_chunk_, is_dense_;
    const std::optional<BitFaults> faults_;
    const Code& code_;
    const std::vector<Slot> slots_;
    const HitCounter hits_;
};

}  // namespace bnnkit::deploy
