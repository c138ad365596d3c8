// What happens to the sums of vertical_engine.h. Included inside run_code.h, in an instruction-set region.
//
// Pixels::with(finishing, scale, body) calls body(finish), and finish.of(output)(sums, at) does it for 16
// or 32 images of an output.
#pragma once

struct FinishCodes {
    Finishing f;

    BNNKIT_INLINE FinishCodes of(int64_t) const { return *this; }
    template <class Sums, class Place>
    BNNKIT_INLINE void operator()(const Sums& sum, const Place& at) const {
        finish_codes(f, sum, at);
    }
};

struct FinishFloats {
    Finishing f;
    SumScale scale;

    BNNKIT_INLINE FinishFloats of(int64_t) const { return *this; }
    template <class Sums, class Place>
    BNNKIT_INLINE void operator()(const Sums& sum, const Place& at) const {
        finish_values(f, scaled(scale, sum, at), at);
    }
};

template <Ends kEnds>
struct EndBlocks {
    Finishing f;
    SumScale scale;

    struct OfOutput {
        Finishing f;
        SumScale scale;
        BlockParameters<kEnds, Wide<Native<float>, 1>> parameters;

        template <class Sums, class Place>
        BNNKIT_INLINE void operator()(const Sums& sum, const Place& at) const {
            end_block(f, parameters, scaled(scale, sum, at), at);
        }
    };
    BNNKIT_INLINE OfOutput of(int64_t output) const { return {f, scale, {f, ImagesOfChannel{output, 0, 0}}}; }
};

struct FinishIntegers {
    Finishing f;

    struct OfOutput {
        Finishing f;
        DigitsOfChannel digits;
        IntegerParameters<OneInt> parameters;

        template <class Sums, class Place>
        BNNKIT_INLINE void operator()(const Sums& sum, const Place& at) const {
            finish_integers(f, parameters, digits.shift_added(sum), at);
        }
    };
    BNNKIT_INLINE OfOutput of(int64_t output) const {
        const ImagesOfChannel at{output, 0, 0};
        return {f, {f.integers, output}, {f.integers, at}};
    }
};

struct FloatPixels {
    template <class Body>
    static void with(const Finishing& f, const SumScale& scale, const Body& body) {
        if (f.sum_thresholds) return body(FinishCodes{f});
        switch (ends_of(f)) {
            case Ends::block: return body(EndBlocks<Ends::block>{f, scale});
            case Ends::fractional: return body(EndBlocks<Ends::fractional>{f, scale});
            case Ends::anything: return body(FinishFloats{f, scale});
        }
    }
};

struct IntegerPixels {
    template <class Body>
    static void with(const Finishing& f, const SumScale&, const Body& body) {
        body(FinishIntegers{f});
    }
};
