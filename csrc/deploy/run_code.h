// The routines of `Code`, for the instruction set of the region this is included in, after lanes_*.h, converting_*.h and
// the engines and writers of adc and xnor.
#pragma once

#include "../core/bit_lanes.h"

namespace bnnkit::deploy {
namespace {

// Everything below is called for every 16 values: calls and tests that do not depend on the value cost as much as the work.
#define BNNKIT_INLINE inline __attribute__((always_inline))

BNNKIT_INLINE void store_half_word(const Finishing& f, int plane, int64_t pixel, int64_t channel, uint32_t mask) {
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

// Stores the planes of 16 channels of one pixel; passes(t) is the mask of lanes beyond threshold t.
template <class Passes>
BNNKIT_INLINE void store_codes(const Finishing& f, int64_t pixel, int64_t channel, const Passes& passes) {
    if (f.threshold_count == 1) return store_half_word(f, 0, pixel, channel, passes(0));
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
    for (int p = 0; p < f.planes; ++p) store_half_word(f, p, pixel, channel, planes[p]);
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

template <bool kNormalized>
BNNKIT_INLINE Floats16 activated(const Finishing& f, Floats16 v, int64_t channel) {
    if (kNormalized || f.inner_scale) v = v * floats_at(f.inner_scale + channel) + floats_at(f.inner_shift + channel);
    v = v + floats_at(f.bias_in + channel);
    v = choose(v > Floats16{}, v, v * floats_at(f.slope + channel));
    return v + floats_at(f.bias_out + channel);
}

template <Ends kEnds>
BNNKIT_INLINE void finish16(const Finishing& f, Floats16 v, int64_t pixel, int64_t channel) {
    constexpr bool kBlock = kEnds == Ends::block, kFractional = kEnds == Ends::fractional,
                   kKnown = kBlock || kFractional;
    if (kFractional || (!kKnown && f.slope)) v = activated<kFractional>(f, v, channel);
    if (kKnown || f.residual) v = v + floats_at(f.residual + pixel * f.stride + channel);
    if (kKnown || f.scale) v = v * floats_at(f.scale + channel) + floats_at(f.shift + channel);
    if (kBlock || (!kKnown && f.clamp)) {
        const Floats16 one = Floats16{} + 1.0f;
        v = choose(v < -one, -one, v);
        v = choose(v > one, one, v);
    }
    if (kKnown || f.floats) store_wide(f.floats + pixel * f.stride + channel, v);
    if (kBlock) {
        store_half_word(f, 0, pixel, channel, sign_mask(v > Floats16{} + f.thresholds[0]));
    } else if (kFractional) {
        // Bit 1 of the code is whether the middle threshold is reached, bit 0 whether an odd number of them is.
        const auto reaches = [&](int t) { return sign_mask(v >= Floats16{} + f.thresholds[t]); };
        const uint32_t middle = reaches(1);
        store_half_word(f, 0, pixel, channel, reaches(0) ^ middle ^ reaches(2));
        store_half_word(f, 1, pixel, channel, middle);
    } else if (f.planes)
        store_codes(f, pixel, channel, [&](int t) {
            const Floats16 threshold = Floats16{} + f.thresholds[t];
            return sign_mask(f.strict ? v > threshold : v >= threshold);
        });
}

BNNKIT_INLINE void codes16(const Finishing& f, Ints16 sum, int64_t pixel, int64_t channel) {
    const Ints16 flip = ints_at(f.flip + channel), directed = (sum ^ flip) - flip;
    store_codes(f, pixel, channel, [&](int t) {
        return sign_mask(directed >= ints_at(f.sum_thresholds + t * f.padded_channels + channel));
    });
}

BNNKIT_INLINE Floats16 scaled(const SumScale& s, Ints16 sum, int64_t channel) {
    if (s.in_float) return FinishInFloat{static_cast<float>(s.scale), s.bias}.neighbours(sum, channel);
    return FinishInDouble{s.scale, s.base, s.bias}.neighbours(sum, channel);
}

// Calls finish(16 sums, pixel, channel) for a tile; engines with narrower tiles deliver 16 channels in several, which are put
// together first.
template <int kColumns, class Finish16>
BNNKIT_INLINE void for_each_16(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t output, int64_t outputs,
                               int64_t channels, int32_t* joined, const Finish16& finish) {
    if constexpr (kColumns % 16 == 0) {
        for (int64_t r = 0; r < pixels; ++r, tile += kColumns)
            for (int64_t o = 0; o < outputs; o += 16) finish(tile + o, pixel + r, output + o);
    } else {
        const int64_t at = output % 16;
        for (int64_t r = 0; r < pixels; ++r)
            memcpy(joined + r * 16 + at, tile + r * kColumns, kColumns * sizeof(int32_t));
        if (at + kColumns < 16 && output + outputs < channels) return;
        for (int64_t r = 0; r < pixels; ++r) finish(joined + r * 16, pixel + r, output - at);
    }
}

template <int kColumns>
class TileFinish {
public:
    TileFinish(const SumScale& scale, const Finishing& f, int32_t* joined) : scale(scale), f(f), joined(joined) {}

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t output, int64_t outputs) const {
        if (f.sum_thresholds)
            rows(tile, pixel, pixels, output, outputs,
                 [&](const int32_t* sums, int64_t p, int64_t channel) { codes16(f, ints_at(sums), p, channel); });
        else if (ends_of(f) == Ends::block)
            values<Ends::block>(tile, pixel, pixels, output, outputs);
        else if (ends_of(f) == Ends::fractional)
            values<Ends::fractional>(tile, pixel, pixels, output, outputs);
        else
            values<Ends::anything>(tile, pixel, pixels, output, outputs);
    }

private:
    template <Ends kEnds>
    void values(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t output, int64_t outputs) const {
        const Finishing f = this->f;  // a copy that no store can change stays in registers
        rows(tile, pixel, pixels, output, outputs, [&](const int32_t* sums, int64_t p, int64_t channel) {
            finish16<kEnds>(f, scaled(scale, ints_at(sums), channel), p, channel);
        });
    }

    template <class Finish16>
    BNNKIT_INLINE void rows(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t output, int64_t outputs,
                            const Finish16& finish) const {
        for_each_16<kColumns>(tile, pixel, pixels, output, outputs, f.channels, joined, finish);
    }

    const SumScale& scale;
    const Finishing& f;
    int32_t* joined;  // [rows of a block][16], for narrow tiles
};

#include "dense_engine.h"
#include "faulty_bits.h"
#include "faulty_engine.h"
#include "gated_engine.h"
#include "integer_code.h"
#include "vertical_engine.h"

// `options` follow the operands in the engine's constructor: a converter, a gate.
template <class Engine, template <int> class Finish>
class Counting : public ArrayCode {
public:
    template <class... Options>
    explicit Counting(const ArrayPlan& plan, const Options&... options)
        : plan_(plan), engine_(plan.conv, plan.borders, plan.panels, options...), loop_(plan.conv, plan.borders) {}

    int64_t scratch_bytes() const override { return kJoinedBytes + Loop::Room::bytes(plan_.conv, engine_); }

    void run(const ArrayInput& input, const SumScale& scale, const Finishing& finishing,
             unsigned char* scratch) const override {
        BinaryConv conv = plan_.conv;
        conv.x = input.x;
        conv.geometry.batch = input.images;
        const typename Loop::Room room(conv, scratch + kJoinedBytes);
        const Finish<Engine::kColumns> finish(scale, finishing, reinterpret_cast<int32_t*>(scratch));
        loop_.run(engine_.of(input.numbers), conv, 0, Loop::blocks(conv), 1, room, finish);
    }

    Gates take_gates() const override { return engine_.take_gates(); }
    Hits take_hits() const override { return engine_.take_hits(); }

private:
    using Loop = TileLoop<Engine>;
    static constexpr int64_t kJoinedBytes = Engine::kRows * 16 * sizeof(int32_t);

    const ArrayPlan plan_;
    const Engine engine_;
    const Loop loop_;
};

template <template <int> class Finish>
ArrayCode* counting(const ArrayPlan& plan) {
    if (plan.faults) return new Counting<FaultyEngine, Finish>(plan, *plan.faults);
    if (plan.converter) return new Counting<Ungated<AdcEngine>, Finish>(plan, *plan.converter);
    return new Counting<Ungated<XnorEngine>, Finish>(plan);
}

ArrayCode* new_array(const ArrayPlan& plan) { return counting<TileFinish>(plan); }

ArrayCode* new_integer_array(const ArrayPlan& plan) { return counting<IntegerTileFinish>(plan); }

ArrayCode* new_gated_array(const ArrayPlan& plan) {
    if (plan.converter) return new Counting<GatedEngine<AdcEngine>, TileFinish>(plan, plan.gate, *plan.converter);
    return new Counting<GatedEngine<XnorEngine>, TileFinish>(plan, plan.gate);
}

void run_finish(const float* values, int64_t pixels, const Finishing& f) {
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        for (int64_t c = 0; c < f.channels; c += 16)
            finish16<Ends::anything>(f, floats_at(values + pixel * f.stride + c), pixel, c);
}

void run_pool(const float* values, const Shape& shape, int64_t images, const Finishing& f) {
    const int64_t height = shape.height / 2, width = shape.width / 2, stride = f.stride;
    for (int64_t pixel = 0; pixel < images * height * width; ++pixel) {
        const int64_t x = pixel % width, y = pixel / width % height, image = pixel / width / height;
        const float* top = values + ((image * shape.height + 2 * y) * shape.width + 2 * x) * stride;
        const float* bottom = top + shape.width * stride;
        for (int64_t c = 0; c < f.channels; c += 16) {
            const Floats16 a = floats_at(top + c), b = floats_at(top + stride + c);
            const Floats16 d = floats_at(bottom + c), e = floats_at(bottom + stride + c);
            const Floats16 upper = choose(a > b, a, b), lower = choose(d > e, d, e);
            finish16<Ends::anything>(f, choose(upper > lower, upper, lower), pixel, c);
        }
    }
}

void run_mean(const float* values, const Shape& shape, int64_t images, const Finishing& f) {
    const int64_t pixels = shape.pixels();
    for (int64_t image = 0; image < images; ++image, values += pixels * f.stride)
        for (int64_t c = 0; c < f.channels; c += 16) {
            Doubles16 sum = {};
            for (int64_t p = 0; p < pixels; ++p) sum += numbers<Doubles16>(floats_at(values + p * f.stride + c));
            finish16<Ends::anything>(f, numbers<Floats16>(sum / static_cast<double>(pixels)), image, c);
        }
}

static_assert(AdcEngine::kColumns == XnorEngine::kColumns, "panels suit both");
#undef BNNKIT_INLINE

constexpr Code code_of(Isa isa, int64_t vertical_images = 8, int64_t vertical_bytes = int64_t{64} << 20) {
    return {isa,
            AdcEngine::kColumns,
            kShift,
            kHasLookup,
            new_array,
            new_integer_array,
            new_gated_array,
            kLaneBytes / static_cast<int>(sizeof(uint32_t)),
            vertical_images,
            vertical_bytes,
            new_vertical_array,
            run_dense,
            run_finish,
            run_pool,
            run_mean,
            run_signed_sums,
            run_finish_integers,
            run_faulty_bits};
}

}  // namespace
}  // namespace bnnkit::deploy
