// The vector algorithm of pack, shared by the instruction sets. Included inside an instruction-set region after a
// definition of `Lanes`: count, Mask passes(const float*, threshold, strict), nan(const float*), or_bit(accumulator, mask, bit).
//
// Thresholds ascend, so their masks are nested and bit p of the code is the parity of the masks at multiples of 2^p:
// no code is ever formed.
#pragma once

namespace bnnkit {
namespace {

// Masks of one vector of values against all thresholds, reduced to the planes' masks.
template <int kPlanes, class Mask, class Passes>
inline void plane_masks(const PackArgs& a, Mask* planes, Passes&& passes) {
    if constexpr (kPlanes == 1) {
        planes[0] = passes(a.thresholds[0]);
        return;
    }
    for (int p = 0; p < kPlanes; ++p) planes[p] = Mask{};
    for (int j = 0; j < a.threshold_count; ++j) {
        const Mask mask = passes(a.thresholds[j]);
        if (a.thermometer) {
            planes[j] = mask;
            continue;
        }
        for (int p = 0; p < kPlanes; ++p)
            if ((j + 1) % (1 << p) == 0) planes[p] ^= mask;
    }
}

// The same for 2^kPlanes - 1 thresholds, by halving: what the higher bits of the code are says which threshold the next one asks for.
template <int kPlanes>
inline void search_planes(const Floats* thresholds, Floats value, bool strict, Bits* planes) {
#pragma GCC unroll 4
    for (int p = kPlanes - 1; p >= 0; --p) {
        Floats asked[1 << (kPlanes - 1)];
        int count = 1 << (kPlanes - 1 - p);
#pragma GCC unroll 8
        for (int i = 0; i < count; ++i) asked[i] = thresholds[((2 * i + 1) << p) - 1];
#pragma GCC unroll 4
        for (int known = p + 1; known < kPlanes; ++known) {
            count /= 2;
#pragma GCC unroll 8
            for (int i = 0; i < count; ++i) asked[i] = planes[known] ? asked[2 * i + 1] : asked[2 * i];
        }
        planes[p] = static_cast<Bits>(strict ? value > asked[0] : value >= asked[0]);
    }
}

// Channels contiguous: a word is assembled from the comparison masks of up to 64 neighbouring values.
template <int kPlanes>
inline void pack_rows(const PackArgs& a, int64_t begin, int64_t end, bool& nan) {
    const int64_t per_group = a.group_channels();
    for (int64_t row = begin; row < end; ++row) {
        uint64_t* out = a.out + row * a.pixel_words();
        for (int64_t group = 0; group < a.groups; ++group) {
            for (int64_t chunk = 0; chunk < a.chunks(); ++chunk) {
                const int64_t first = chunk * a.channels_per_array;
                const int64_t channels =
                    per_group - first < a.channels_per_array ? per_group - first : a.channels_per_array;
                const float* x = a.x + row * a.channels + group * per_group + first;
                for (int64_t word = 0; word < a.slot_words(); ++word, ++out, x += kWordBits) {
                    const int64_t left = channels - word * kWordBits;
                    const int count = left <= 0 ? 0 : left < kWordBits ? static_cast<int>(left) : 64;
                    uint64_t planes[kPlanes];
                    nan |= any_nan(x, count);
                    plane_masks<kPlanes>(a, planes, [&](float t) { return passes(x, count, t, a.strict); });
                    for (int p = 0; p < kPlanes; ++p) out[p * a.plane_words()] = planes[p];
                }
            }
        }
    }
}

// Pixels contiguous: each lane is a pixel and collects its own bits, 32 channels at a time.
constexpr int kVectors = 4;  // per channel and step, so that each channel's row is read 256 bytes at a time
constexpr int kBlock = kVectors * kLanes;

template <int kPlanes, bool kSearch>
inline void pack_half(const PackArgs& a, const float* x, int channels, int pixels, uint32_t (*out)[kBlock], bool& nan) {
    Bits sums[kPlanes][kVectors] = {};
    Bits unordered = {};
    Floats thresholds[kSearch ? (1 << kPlanes) - 1 : 1];
    if constexpr (kSearch)
        for (int j = 0; j < (1 << kPlanes) - 1; ++j) thresholds[j] = Floats{} + a.thresholds[j];
    for (int c = 0; c < channels; ++c, x += a.pixels) {
        for (int v = 0; v < kVectors; ++v) {
            if (v * kLanes >= pixels) break;
            const Floats value = load(x + v * kLanes, pixels - v * kLanes);
            __builtin_prefetch(x + v * kLanes + kBlock);  // channels are far apart: too many streams for the hardware
            unordered |= static_cast<Bits>(value != value);
            Bits planes[kPlanes];
            if constexpr (kSearch)
                search_planes<kPlanes>(thresholds, value, a.strict, planes);
            else
                plane_masks<kPlanes>(a, planes,
                                     [&](float t) { return static_cast<Bits>(a.strict ? value > t : value >= t); });
            for (int p = 0; p < kPlanes; ++p) sums[p][v] |= planes[p] & (Bits{} + (uint32_t{1} << c));
        }
    }
    for (int lane = 0; lane < kLanes; ++lane) nan |= unordered[lane] != 0;
    for (int p = 0; p < kPlanes; ++p) memcpy(out[p], sums[p], sizeof sums[p]);
}

template <int kPlanes, bool kSearch>
inline void pack_pixels(const PackArgs& a, int64_t begin, int64_t end, bool& nan) {
    const int64_t per_group = a.group_channels(), blocks = ceil_div(a.pixels, kBlock);
    uint32_t low[kPlanes][kBlock], high[kPlanes][kBlock] = {};
    for (int64_t item = begin; item < end; ++item) {
        const int64_t image = item / blocks, first_pixel = item % blocks * kBlock;
        const int pixels = static_cast<int>(a.pixels - first_pixel < kBlock ? a.pixels - first_pixel : kBlock);
        const int64_t slots = a.pixel_words();
        for (int64_t slot = 0; slot < slots; ++slot) {
            const int64_t chunk_index = slot / a.slot_words(), word = slot % a.slot_words();
            const int64_t group = chunk_index / a.chunks(), chunk = chunk_index % a.chunks();
            const int64_t first = chunk * a.channels_per_array + word * kWordBits;
            const int64_t chunk_end = (chunk + 1) * a.channels_per_array;
            const int64_t left = (chunk_end < per_group ? chunk_end : per_group) - first;
            const int channels = left <= 0 ? 0 : left < kWordBits ? static_cast<int>(left) : 64;
            const float* x = a.x + (image * a.channels + group * per_group + first) * a.pixels + first_pixel;
            pack_half<kPlanes, kSearch>(a, x, channels < 32 ? channels : 32, pixels, low, nan);
            if (channels > 32) pack_half<kPlanes, kSearch>(a, x + 32 * a.pixels, channels - 32, pixels, high, nan);
            for (int p = 0; p < kPlanes; ++p) {
                uint64_t* out = a.out + p * a.plane_words() + (image * a.pixels + first_pixel) * slots + slot;
                for (int i = 0; i < pixels; ++i)
                    out[i * slots] = low[p][i] | (channels > 32 ? static_cast<uint64_t>(high[p][i]) << 32 : 0);
            }
        }
    }
}

template <int kPlanes>
inline void pack_planes(const PackArgs& a) {
    const bool rows = a.channels_last || a.pixels == 1;
    constexpr bool kCanSearch = kPlanes >= 2 && kPlanes <= 4;  // thresholds that stay in registers or the first cache
    const bool search = kCanSearch && !a.thermometer && a.threshold_count == (1 << kPlanes) - 1;
    const int64_t items = rows ? a.batch * a.pixels : a.batch * ceil_div(a.pixels, kBlock);
    parallel_for(a.threads, items, [&](int64_t begin, int64_t end) {
        bool nan = false;
        if (rows)
            pack_rows<kPlanes>(a, begin, end, nan);
        else if (search)
            pack_pixels<kPlanes, kCanSearch>(a, begin, end, nan);
        else
            pack_pixels<kPlanes, false>(a, begin, end, nan);
        if (nan) __atomic_store_n(a.has_nan, true, __ATOMIC_RELAXED);
    });
}

inline void pack_lanes(const PackArgs& a) {
    switch (a.planes) {
        case 1: return pack_planes<1>(a);
        case 2: return pack_planes<2>(a);
        case 3: return pack_planes<3>(a);
        case 4: return pack_planes<4>(a);
        case 5: return pack_planes<5>(a);
        case 6: return pack_planes<6>(a);
        case 7: return pack_planes<7>(a);
        default: return pack_planes<8>(a);
    }
}

}  // namespace
}  // namespace bnnkit
