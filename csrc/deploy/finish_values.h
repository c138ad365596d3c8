// What happens to 16 values of a packed network, in Finishing's order. Included inside run_code.h, in an instruction-set region.
#pragma once

// Where 16 values are: neighbouring channels of one pixel,
struct ChannelsOfPixel {
    int64_t pixel, channel;

    template <class T>
    BNNKIT_INLINE auto parameters(const T* of_channels) const {
        return sixteen_at(of_channels + channel);
    }
    BNNKIT_INLINE bool all_zero(const int32_t*) const { return false; }  // not known
    template <class Finish>
    BNNKIT_INLINE Floats16 finished(const Finish& finish, const Ints16& sum) const {
        return finish.neighbours(sum, channel);
    }
    BNNKIT_INLINE int64_t value(const Finishing& f) const { return pixel * f.stride + channel; }

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

// or images abreast, of one channel; cell = channel * pixels + pixel.
struct ImagesOfChannel {
    int64_t channel, cell, image;

    template <class T>
    BNNKIT_INLINE auto parameters(const T* of_channels) const {
        return spread<decltype(sixteen_at(of_channels))>(of_channels[channel]);
    }
    BNNKIT_INLINE bool all_zero(const int32_t* of_channels) const { return of_channels[channel] == 0; }
    template <class Finish>
    BNNKIT_INLINE Floats16 finished(const Finish& finish, const Ints16& sum) const {
        return finish(sum, channel);
    }
    BNNKIT_INLINE int64_t value(const Finishing& f) const { return cell * f.abreast.lanes + image; }

    BNNKIT_INLINE void store_bits(const Finishing& f, int plane, uint32_t mask) const {
        const auto some = static_cast<uint16_t>(mask);
        memcpy(reinterpret_cast<char*>(f.bits[plane]) + cell * f.abreast.word_bytes() + image / 8, &some, sizeof some);
    }
};

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

template <bool kNormalized, class Place>
BNNKIT_INLINE Floats16 activated(const Finishing& f, Floats16 v, const Place& at) {
    if (kNormalized || f.inner_scale) v = v * at.parameters(f.inner_scale) + at.parameters(f.inner_shift);
    v = v + at.parameters(f.bias_in);
    v = choose(v > Floats16{}, v, v * at.parameters(f.slope));
    return v + at.parameters(f.bias_out);
}

template <Ends kEnds, class Place>
BNNKIT_INLINE void finish16(const Finishing& f, Floats16 v, const Place& at) {
    constexpr bool kBlock = kEnds == Ends::block, kFractional = kEnds == Ends::fractional,
                   kKnown = kBlock || kFractional;
    if (kFractional || (!kKnown && f.slope)) v = activated<kFractional>(f, v, at);
    if (kKnown || f.residual) v = v + floats_at(f.residual + at.value(f));
    if (kKnown || f.scale) v = v * at.parameters(f.scale) + at.parameters(f.shift);
    if (kBlock || (!kKnown && f.clamp)) {
        const Floats16 one = Floats16{} + 1.0f;
        v = choose(v < -one, -one, v);
        v = choose(v > one, one, v);
    }
    if (kKnown || f.floats) store_wide(f.floats + at.value(f), v);
    if (kBlock) {
        at.store_bits(f, 0, sign_mask(v > spread<Floats16>(f.thresholds[0])));
    } else if (kFractional) {
        // Bit 1 of the code is whether the middle threshold is reached, bit 0 whether an odd number of them is.
        const auto reaches = [&](int t) { return sign_mask(v >= spread<Floats16>(f.thresholds[t])); };
        const uint32_t middle = reaches(1);
        at.store_bits(f, 0, reaches(0) ^ middle ^ reaches(2));
        at.store_bits(f, 1, middle);
    } else if (f.planes)
        store_codes(f, at, [&](int t) {
            const Floats16 threshold = spread<Floats16>(f.thresholds[t]);
            return sign_mask(f.strict ? v > threshold : v >= threshold);
        });
}

template <class Place>
BNNKIT_INLINE void codes16(const Finishing& f, Ints16 sum, const Place& at) {
    const Ints16 flip = at.parameters(f.flip), directed = (sum ^ flip) - flip;
    store_codes(f, at,
                [&](int t) { return sign_mask(directed >= at.parameters(f.sum_thresholds + t * f.padded_channels)); });
}

// sum * (high + low), see SumScale.
struct FinishInTwoFloats {
    float high, low;

    BNNKIT_INLINE Floats16 operator()(const Ints16& sum, int64_t) const {
        const Floats16 exact = numbers<Floats16>(sum);
        return exact * high + exact * low;
    }
    BNNKIT_INLINE Floats16 neighbours(const Ints16& sum, int64_t output) const { return (*this)(sum, output); }
};

template <class Place>
BNNKIT_INLINE Floats16 scaled(const SumScale& s, Ints16 sum, const Place& at) {
    if (s.in_two_floats) return at.finished(FinishInTwoFloats{s.high, s.low}, sum);
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
