// Bits of one image's plane with faults. Included inside run_code.h, in an instruction-set region.
//
//   h = step(state, element),   element = channel * pixels + pixel;   the bit is hit where h < below
//
// 16 channels of a pixel at a time. Bits past the last channel stay 0.
#pragma once

using Hashes16 = Wide<Native<uint32_t>, 64 / sizeof(Native<uint32_t>)>;

inline Hashes16 counting16() {
    alignas(64) static constexpr uint32_t kNumbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return wide_at<Hashes16>(kNumbers);
}

// Lane i: its bit of `hit` says whether it is hit. Returns 16 new bits of `bits`.
BNNKIT_INLINE uint64_t faulty16(BitKind kind, uint64_t bits, uint64_t hit, const Hashes16& hashes) {
    switch (kind) {
        case BitKind::flip: return bits ^ hit;
        case BitKind::stuck0: return bits & ~hit;
        case BitKind::stuck1: return bits | hit;
        case BitKind::random: break;
    }
    if (hit == 0) return bits;
    const Hashes16 drawn = counter_step(hashes, Hashes16{} + 1u);
    return (bits & ~hit) | (sign_mask(as<Ints16>(drawn << 31)) & hit);
}

Hits run_faulty_bits(const uint64_t* from, const Shape& shape, const BitFaults& faults, uint32_t state, uint64_t* to) {
    const int64_t pixels = shape.pixels(), words = shape.words(), channels = shape.channels;
    const auto last = static_cast<uint32_t>(faults.below - 1);
    const BitKind kind = faults.kind;
    const Hashes16 lanes = counting16() * static_cast<uint32_t>(pixels);
    Hits hits{channels * pixels, 0, 0};
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        for (int64_t word = 0; word < words; ++word, ++from, ++to) {
            uint64_t sum = 0;
            for (int64_t bit = 0, c = word * kWordBits; bit < kWordBits && c < channels; bit += 16, c += 16) {
                const auto first = static_cast<uint32_t>(c * pixels + pixel);
                const Hashes16 h = counter_step(Hashes16{} + state, lanes + first);
                const uint64_t there = channels - c < 16 ? (uint64_t{1} << (channels - c)) - 1 : 0xffff;
                const uint64_t hit = sign_mask(h <= last) & there;
                sum |= faulty16(kind, *from >> bit & 0xffff, hit, h) << bit;
                hits.faulty += __builtin_popcountll(hit);
            }
            hits.wrong += __builtin_popcountll(*from ^ sum);
            *to = sum;
        }
    return hits;
}
