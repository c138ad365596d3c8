// The routines of `Code`, for the instruction set of the region this is included in, after lanes_*.h, converting_*.h and
// the engines and writers of adc and xnor.
#pragma once

#include "../core/bit_lanes.h"

namespace bnnkit::deploy {
namespace {

// Everything below is called for every 16 values: calls and tests that do not depend on the value cost as much as the work.
#define BNNKIT_INLINE inline __attribute__((always_inline))

BNNKIT_INLINE Floats16 sixteen_at(const float* p) { return floats_at(p); }
BNNKIT_INLINE Ints16 sixteen_at(const int32_t* p) { return ints_at(p); }

#include "finish_values.h"

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
            rows(tile, pixel, pixels, output, outputs, [&](const int32_t* sums, int64_t p, int64_t channel) {
                finish_codes(f, ints_at(sums), ChannelsOfPixel{p, channel});
            });
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
            const ChannelsOfPixel at{p, channel};
            const Floats16 v = scaled(scale, ints_at(sums), at);
            if constexpr (kEnds == Ends::anything)
                finish_values(f, v, at);
            else
                end_block(f, BlockParameters<kEnds, Floats16>(f, at), v, at);
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

#include "dense_tile.h"

#include "dense_abreast.h"
#include "dense_engine.h"
#include "faulty_bits.h"
#include "faulty_engine.h"
#include "gated_engine.h"
#include "integer_code.h"
#include "value_code.h"
#include "vertical_finish.h"

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

// An engine that lays weights out by itself.
template <class Engine>
class WithoutPanels : public Engine {
public:
    WithoutPanels(const BinaryConv& conv, const BorderClasses& borders, const Panels&, const SumConverter& converter)
        : Engine(conv, borders, converter) {}
};

template <template <int> class Finish>
ArrayCode* counting(const ArrayPlan& plan) {
    if (plan.faults) return new Counting<FaultyEngine, Finish>(plan, *plan.faults);
    if constexpr (kProductsByBytes > 0)
        if (plan.of_sums) return new Counting<Ungated<WithoutPanels<ByteEngine>>, Finish>(plan, *plan.of_sums);
    if (plan.converter) return new Counting<Ungated<AdcEngine>, Finish>(plan, *plan.converter);
    return new Counting<Ungated<XnorEngine>, Finish>(plan);
}

ArrayCode* new_array(const ArrayPlan& plan) { return counting<TileFinish>(plan); }

ArrayCode* new_integer_array(const ArrayPlan& plan) { return counting<IntegerTileFinish>(plan); }

ArrayCode* new_gated_array(const ArrayPlan& plan) {
    if (plan.converter) return new Counting<GatedEngine<AdcEngine>, TileFinish>(plan, plan.gate, *plan.converter);
    return new Counting<GatedEngine<XnorEngine>, TileFinish>(plan, plan.gate);
}

static_assert(AdcEngine::kColumns == XnorEngine::kColumns, "panels suit both");
#undef BNNKIT_INLINE

constexpr Code code_of(Isa isa, int64_t vertical_images = 8, int64_t vertical_bytes = int64_t{96} << 20) {
    return {isa,
            AdcEngine::kColumns,
            kShift,
            kHasLookup,
            kProductsByBytes,
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
            run_faulty_bits,
            turn_values,
            turn_bits};
}

}  // namespace
}  // namespace bnnkit::deploy
