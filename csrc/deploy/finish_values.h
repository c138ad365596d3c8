// What happens to 16 values of a packed network, in Finishing's order. Included inside run_code.h, in an instruction-set region.
#pragma once

// Where 16 values are: neighbouring channels of one pixel,
struct ChannelsOfPixel {
    int64_t pixel, channel;

    template <class T>
    BNNKIT_INLINE auto parameters(const T* of_channels) const {
        return sixteen_at(of_channels + channel);
    }
    template <class Finish>
    BNNKIT_INLINE Floats16 finished(const Finish& finish, const Ints16& sum) const {
        return finish.neighbours(sum, channel);
    }
    BNNKIT_INLINE int64_t value(const Finishing& f) const { return pixel * f.stride + channel; }
    BNNKIT_INLINE void expect_next(const Finishing&, const void*) const {}

    BNNKIT_INLINE void store_bits(const Finishing& f, int plane, uint32_t mask) const {
        const int64_t left = f.channels - channel;
        if (left <= 0) return;
        if (left < 16) mask &= (1u << left) - 1;
        char* const to = reinterpret_cast<char*>(f.bits[plane] + pixel * f.words) + channel / 8;
        // Channels come in their order. The first ones clear the rest of their word: nothing else may ever fill it, and a buffer
        // is laid out anew for every number of images.
        if (channel % kWordBits == 0) {
            const uint64_t word = mask;
            memcpy(to, &word, sizeof word);
        } else {
            const auto half_word = static_cast<uint16_t>(mask);
            memcpy(to, &half_word, sizeof half_word);
        }
    }
};

// or images abreast, of one channel; cell = channel * pixels + pixel. Parameters are the same for all of them.
struct ImagesOfChannel {
    int64_t channel, cell, image;

    template <class T>
    BNNKIT_INLINE auto parameters(const T* of_channels) const {
        return spread<Wide<Native<T>, 1>>(of_channels[channel]);
    }
    template <class Finish>
    BNNKIT_INLINE Floats16 finished(const Finish& finish, const Ints16& sum) const {
        return finish(sum, channel);
    }
    BNNKIT_INLINE int64_t value(const Finishing& f) const { return cell * f.abreast.lanes + image; }
    // Values of the next channel's pixel are needed soon, and lie too far away for the processor to expect them.
    BNNKIT_INLINE void expect_next(const Finishing& f, const void* values) const {
        __builtin_prefetch(static_cast<const char*>(values) + (value(f) + f.pixels * f.abreast.lanes) * 4);
    }

    BNNKIT_INLINE void store_bits(const Finishing& f, int plane, uint32_t mask) const {
        const auto some = static_cast<uint16_t>(mask);
        memcpy(bits(f, plane), &some, sizeof some);
    }
    BNNKIT_INLINE char* bits(const Finishing& f, int plane) const {
        return reinterpret_cast<char*>(f.bits[plane]) + cell * f.abreast.word_bytes() + image / 8;
    }
};

// Twice as many: what happens to a value takes much longer than what could happen to others in the meantime, and a processor
// does not look far enough ahead to find these in the next 16.
using Ints32 = decltype(joined(Ints16{}, Ints16{}));
using Floats32 = decltype(joined(Floats16{}, Floats16{}));

struct MoreImagesOfChannel : ImagesOfChannel {
    template <class Finish>
    BNNKIT_INLINE Floats32 finished(const Finish& finish, const Ints32& sum) const {
        return joined(finish(half(sum, 0), channel), finish(half(sum, 1), channel));
    }
    BNNKIT_INLINE void expect_next(const Finishing& f, const void* values) const {
        ImagesOfChannel::expect_next(f, values);
        ImagesOfChannel{channel, cell, image + 16}.expect_next(f, values);
    }
    BNNKIT_INLINE void store_bits(const Finishing& f, int plane, uint32_t mask) const {
        memcpy(bits(f, plane), &mask, sizeof mask);
    }
};

inline uint32_t sign_mask(const Ints32& v) { return sign_mask(half(v, 0)) | sign_mask(half(v, 1)) << 16; }

// Stores the planes of 16 codes; passes(t) is the mask of lanes beyond threshold t.
template <class Place, class Passes>
BNNKIT_INLINE void store_codes(const Finishing& f, const Place& at, const Passes& passes) {
    if (f.threshold_count == 1) return at.store_bits(f, 0, passes(0));
    uint32_t planes[kMaxPlanes] = {};
    for (int t = 0; t < f.threshold_count; ++t) {
        const uint32_t mask = passes(t);
        if (f.thermometer) {
            planes[t] = mask;
            continue;
        }
        // Thresholds are nested: bit p of the code is the parity of those at multiples of 2^p.
        for (int p = 0; p < f.planes; ++p)
            if ((t + 1) % (1 << p) == 0) planes[p] ^= mask;
    }
    for (int p = 0; p < f.planes; ++p) at.store_bits(f, p, planes[p]);
}

// The ends of residual blocks are the common cases, known when the code is compiled.
enum class Ends {
    anything,
    block,      // of 1-bit activations: shortcut, normalization, Hardtanh, bit
    fractional  // of fractional ones: normalization, RPReLU, shortcut, normalization, 2-bit code
};

inline Ends ends_of(const Finishing& f) {
    if (!f.residual || !f.scale || !f.floats || f.thermometer) return Ends::anything;
    if (f.clamp && f.threshold_count == 1 && f.strict && !f.slope) return Ends::block;
    if (!f.clamp && f.threshold_count == 3 && !f.strict && f.slope && f.inner_scale) return Ends::fractional;
    return Ends::anything;
}

// The parameters of values of a block whose ends are known. Of one channel they are read once for many images.
template <Ends kEnds, class Floats>
struct BlockParameters {
    Floats scale, shift, inner_scale, inner_shift, bias_in, slope, bias_out;

    template <class Place>
    BNNKIT_INLINE BlockParameters(const Finishing& f, const Place& at)
        : scale(at.parameters(f.scale)), shift(at.parameters(f.shift)) {
        if constexpr (kEnds == Ends::fractional) {
            inner_scale = at.parameters(f.inner_scale), inner_shift = at.parameters(f.inner_shift);
            bias_in = at.parameters(f.bias_in), slope = at.parameters(f.slope), bias_out = at.parameters(f.bias_out);
        }
    }
};

template <class Values, class Floats>
BNNKIT_INLINE Values activated(Values v, const Floats& bias_in, const Floats& slope, const Floats& bias_out) {
    v = v + bias_in;
    v = choose(v > Values{}, v, v * slope);
    return v + bias_out;
}

template <class Values>
BNNKIT_INLINE Values clamped(const Values& v) {
    const auto one = spread<Wide<Native<float>, 1>>(1.0f);
    return smaller(one, larger(-one, v));
}

template <Ends kEnds, class Floats, class Values, class Place>
BNNKIT_INLINE void end_block(const Finishing& f, const BlockParameters<kEnds, Floats>& p, Values v, const Place& at) {
    if constexpr (kEnds == Ends::fractional)
        v = activated(v * p.inner_scale + p.inner_shift, p.bias_in, p.slope, p.bias_out);
    v = v + wide_at<Values>(f.residual + at.value(f));
    at.expect_next(f, f.residual);
    v = v * p.scale + p.shift;
    if constexpr (kEnds == Ends::block) v = clamped(v);
    store_wide(f.floats + at.value(f), v);
    if constexpr (kEnds == Ends::block) {
        at.store_bits(f, 0, sign_mask(v > f.thresholds[0]));
    } else {
        // Bit 1 of the code is whether the middle threshold is reached, bit 0 whether an odd number of them is.
        const auto reaches = [&](int t) { return v >= f.thresholds[t]; };
        const auto middle = reaches(1);
        at.store_bits(f, 0, sign_mask(reaches(0) ^ middle ^ reaches(2)));
        at.store_bits(f, 1, sign_mask(middle));
    }
}

template <class Values, class Place>
BNNKIT_INLINE void finish_values(const Finishing& f, Values v, const Place& at) {
    if (f.slope) {
        if (f.inner_scale) v = v * at.parameters(f.inner_scale) + at.parameters(f.inner_shift);
        v = activated(v, at.parameters(f.bias_in), at.parameters(f.slope), at.parameters(f.bias_out));
    }
    if (f.residual) v = v + wide_at<Values>(f.residual + at.value(f));
    if (f.scale) v = v * at.parameters(f.scale) + at.parameters(f.shift);
    if (f.clamp) v = clamped(v);
    if (f.floats) store_wide(f.floats + at.value(f), v);
    if (f.planes)
        store_codes(f, at, [&](int t) { return sign_mask(f.strict ? v > f.thresholds[t] : v >= f.thresholds[t]); });
}

template <class Sums, class Place>
BNNKIT_INLINE void finish_codes(const Finishing& f, const Sums& sum, const Place& at) {
    const auto flip = at.parameters(f.flip);
    const Sums directed = (sum ^ flip) - flip;
    store_codes(f, at,
                [&](int t) { return sign_mask(directed >= at.parameters(f.sum_thresholds + t * f.padded_channels)); });
}

template <class Sums, class Place>
BNNKIT_INLINE auto scaled(const SumScale& s, const Sums& sum, const Place& at) {
    using Values = Wide<Native<float>, sizeof sum / sizeof(Native<float>)>;
    if (s.in_two_floats) {
        const auto exact = numbers<Values>(sum);
        return exact * s.high + exact * s.low;
    }
    if (s.in_float) return at.finished(FinishInFloat{static_cast<float>(s.scale), s.bias}, sum);
    return at.finished(FinishInDouble{s.scale, s.base, s.bias}, sum);
}

// each(at) for 16 images at a time of every channel and pixel that is finished; images are abreast.
template <class Each>
BNNKIT_INLINE void for_each_cell(const Finishing& f, const Each& each) {
    const int64_t channels = f.channels, pixels = f.pixels, lanes = f.abreast.lanes;
    for (int64_t channel = 0, cell = 0; channel < channels; ++channel)
        for (int64_t pixel = 0; pixel < pixels; ++pixel, ++cell)
            for (int64_t image = 0; image < lanes; image += 16) each(ImagesOfChannel{channel, cell, image});
}
