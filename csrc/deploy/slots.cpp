#include "slots.h"

#include <algorithm>

#include "../core/counter.h"

namespace bnnkit::deploy {
namespace {

bool is_dense(const Shape& in, const ArrayLayout& layout, bool flatten) {
    const bool whole_words = layout.chunks() == 1 || layout.channels_per_array % kWordBits == 0;
    return !flatten && whole_words && layout.pixel_words() == in.words();
}

}  // namespace

Slots::Slots(const Shape& in, const ArrayLayout& layout, int planes, bool flatten, bool by_chunk,
             std::optional<BitFaults> faults, const Code& code)
    : in_(in),
      layout_(layout),
      planes_(planes),
      flatten_(flatten),
      by_chunk_(by_chunk),
      is_dense_(is_dense(in, layout, flatten)),
      faults_(faults && faults->below ? faults : std::nullopt),
      code_(code),
      slots_(slots_of_pixel()) {}

int64_t Slots::copied_words(int64_t images) const {
    const int64_t pixels = flatten_ ? 1 : in_.pixels();
    return images * pixels * layout_.pixel_words() * planes_;
}

int64_t Slots::scratch_bytes(int64_t images) const {
    if (in_place()) return 0;
    return ceil_div((copied_words(images) + flat_words() + faulty_words() + 1) * 8, 64) * 64;
}

bool Slots::has_faults(int plane) const { return faults_ && (faults_->bit < 0 || faults_->bit == plane); }

const uint64_t* Slots::fill(const Workspace& workspace, const Buffer& source, int64_t images,
                            unsigned char* scratch) const {
    if (in_place()) return source.plane(0, images);
    uint64_t* const x = reinterpret_cast<uint64_t*>(scratch);
    uint64_t* const flat = x + copied_words(images);
    uint64_t* const faulty = flat + flat_words();
    uint64_t* to = x;
    Hits hits;
    const int64_t in_words = in_.words(), pixels = in_.pixels();
    for (int p = 0; p < planes_; ++p) {
        const uint64_t* next = source.plane(p, images);
        for (int64_t image = 0; image < images; ++image, next += pixels * in_words) {
            const uint64_t* from = next;
            if (has_faults(p)) {
                const uint32_t of_image =
                    counter_step(faults_->state, static_cast<uint32_t>(workspace.numbers[static_cast<size_t>(image)]));
                hits +=
                    code_.faulty_bits(from, in_, *faults_, counter_step(of_image, static_cast<uint32_t>(p)), faulty);
                from = faulty;
            }
            if (by_chunk_) {
                spread_by_chunk(from, images, x + p * copied_words(images) / planes_ + image * pixels);
            } else if (flatten_) {
                flatten(from, flat);
                to = spread(flat, to);
            } else if (is_dense_) {
                to = std::copy(from, from + pixels * in_words, to);
            } else {
                for (int64_t pixel = 0; pixel < pixels; ++pixel) to = spread(from + pixel * in_words, to);
            }
        }
    }
    if (faults_) hits_.add(hits);
    return x;
}

void Slots::flatten(const uint64_t* from, uint64_t* flat) const {
    const int64_t pixels = in_.pixels(), words = in_.words();
    std::fill(flat, flat + flat_words(), 0);
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        for (int64_t c = 0; c < in_.channels; ++c) {
            const int64_t at = c * pixels + pixel;
            flat[at / kWordBits] |= (from[pixel * words + c / kWordBits] >> (c % kWordBits) & 1) << (at % kWordBits);
        }
}

std::vector<Slots::Slot> Slots::slots_of_pixel() const {
    std::vector<Slot> found;
    const int64_t last = words_for(layout_.channels) - 1;
    for (int64_t chunk = 0; chunk < layout_.chunks(); ++chunk) {
        const int64_t first = chunk * layout_.channels_per_array, end = first + layout_.chunk_channels(chunk);
        for (int64_t word = 0; word < layout_.slot_words(); ++word) {
            const int64_t bit = first + word * kWordBits, left = end - bit, low = std::min(bit / kWordBits, last);
            const uint64_t mask = left <= 0 ? 0 : left < kWordBits ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
            found.push_back({low, std::min(low + 1, last), static_cast<uint64_t>(bit % kWordBits), mask});
        }
    }
    return found;
}

uint64_t* Slots::spread(const uint64_t* dense, uint64_t* to) const {
    // Shifting the upper word twice keeps each shift below 64.
    for (const Slot& slot : slots_)
        *to++ = (dense[slot.low] >> slot.shift | dense[slot.high] << 1 << (63 - slot.shift)) & slot.mask;
    return to;
}

void Slots::spread_by_chunk(const uint64_t* dense, int64_t images, uint64_t* to) const {
    const int64_t pixels = in_.pixels(), words = in_.words();
    for (const Slot& slot : slots_) {
        if (words == 1)
            for (int64_t pixel = 0; pixel < pixels; ++pixel) to[pixel] = dense[pixel] >> slot.shift & slot.mask;
        else
            for (int64_t pixel = 0; pixel < pixels; ++pixel) {
                const uint64_t* from = dense + pixel * words;
                to[pixel] = (from[slot.low] >> slot.shift | from[slot.high] << 1 << (63 - slot.shift)) & slot.mask;
            }
        to += images * pixels;
    }
}

}  // namespace bnnkit::deploy
