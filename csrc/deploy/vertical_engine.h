// Convolutions whose numbers stand upright, see vertical_plan.h. Included inside run_code.h, in an instruction-set region.
#pragma once

// What happens to sums: Pixels::with(finishing, scale, body) calls body(finish), and finish(sums, pixel, first channel) does it
// for 16 channels. finish.fetch(pixel, first channel) asks for the values it will read and write: those of neighbouring images
// lie too far apart to be foreseen by a processor.
inline void fetch_values(const Finishing& f, const float* residual, float* values, int64_t pixel, int64_t channel) {
    const int64_t at = pixel * f.stride + channel;
    if (residual) __builtin_prefetch(residual + at);
    if (values) __builtin_prefetch(values + at, 1);
}

struct FinishCodes {
    Finishing f;
    BNNKIT_INLINE void operator()(const Ints16& sum, int64_t pixel, int64_t channel) const {
        codes16(f, sum, pixel, channel);
    }
    BNNKIT_INLINE void fetch(int64_t, int64_t) const {}
};

template <Ends kEnds>
struct FinishFloats {
    Finishing f;
    SumScale scale;
    BNNKIT_INLINE void operator()(const Ints16& sum, int64_t pixel, int64_t channel) const {
        finish16<kEnds>(f, scaled(scale, sum, channel), pixel, channel);
    }
    BNNKIT_INLINE void fetch(int64_t pixel, int64_t channel) const {
        fetch_values(f, f.residual, f.floats, pixel, channel);
    }
};

struct FinishIntegers {
    Finishing f;
    BNNKIT_INLINE void operator()(const Ints16& sum, int64_t pixel, int64_t channel) const {
        end16(f, shift_added(f.integers, sum, channel), pixel, channel);
    }
    BNNKIT_INLINE void fetch(int64_t pixel, int64_t channel) const {
        fetch_values(f, reinterpret_cast<const float*>(f.integers.residual),
                     reinterpret_cast<float*>(f.integers.values), pixel, channel);
    }
};

struct FloatPixels {
    template <class Body>
    static void with(const Finishing& f, const SumScale& scale, const Body& body) {
        if (f.sum_thresholds) return body(FinishCodes{f});
        switch (ends_of(f)) {
            case Ends::block: return body(FinishFloats<Ends::block>{f, scale});
            case Ends::fractional: return body(FinishFloats<Ends::fractional>{f, scale});
            case Ends::anything: return body(FinishFloats<Ends::anything>{f, scale});
        }
    }
};

struct IntegerPixels {
    template <class Body>
    static void with(const Finishing& f, const SumScale&, const Body& body) {
        body(FinishIntegers{f});
    }
};

// A layer in words of as many images as a Word has bits. Without converters nothing is multiplied, in case nothing may be.
template <class Pixels, bool kConverts, class Word>
class VerticalWords {
public:
    VerticalWords(const VerticalLists& lists, const GatePlan& gate)
        : l_(lists), gate_(gate), planes_(gate.thresholds ? 2 : 1), vectors_(ceil_div(lists.out_width, kLaneWords)) {}

    int64_t scratch_bytes() const {
        return planes_ * ((plane_words() + total_words() + sum_words()) * int64_t{sizeof(Word)} + kColumnBytes);
    }

    // Returns how many gates were open.
    int64_t run(const ArrayInput& input, const SumScale& scale, const Finishing& finishing,
                unsigned char* scratch) const {
        Word* const bits = reinterpret_cast<Word*>(scratch);
        Word* const totals = bits + planes_ * plane_words();
        Word* const sums = totals + planes_ * total_words();
        uint8_t* const columns = reinterpret_cast<uint8_t*>(sums + planes_ * sum_words());
        int64_t open = 0;
        raise(input, bits);
        Pixels::with(finishing, scale, [&](const auto& finish) {
            for (int64_t y = 0; y < l_.out_height; ++y) {
                for (int p = 0; p < planes_; ++p) add_totals(row_of(bits, p, y), totals + p * total_words());
                for (int64_t first = 0; first < l_.outputs; first += 16) {
                    const int64_t outputs = l_.outputs - first < 16 ? l_.outputs - first : 16;
                    for (int p = 0; p < planes_; ++p)
                        count(row_of(bits, p, y), totals + p * total_words(), y, first, outputs,
                              sums + p * sum_words());
                    for (int64_t x = 0; x < l_.out_width; x += kColumns)
                        if (l_.code_limits)
                            lower_codes(sums, finishing, input.images, y, x, first, outputs);
                        else
                            open += lower(sums, columns, input.images, y, x, first, outputs, finish);
                }
            }
        });
        return open;
    }

private:
    static constexpr int kLaneWords = kLaneBytes / static_cast<int>(sizeof(Word));
    static constexpr int64_t kColumns = 8;  // pixels of a row that are finished at a time
    static constexpr int64_t kImages = 8 * sizeof(Word);
    static constexpr int64_t kAhead = 2;  // images
    // Numbers of two bytes at most, [byte][image][column][16 channels].
    static constexpr int64_t kPlaneBytes = kImages * kColumns * 16, kColumnBytes = 2 * kPlaneBytes;

    // Of one plane of activations.
    int64_t plane_words() const { return (l_.channels + 1) * l_.channel_words; }
    int64_t total_words() const { return l_.arrays * vectors_ * kMostVerticalPlanes * kLaneWords; }
    int64_t sum_words() const { return 16 * l_.sum_planes * vectors_ * kLaneWords; }
    int sum_bytes() const { return l_.sum_planes > 8 ? 2 : 1; }

    // The word of the first tap of output row y, column 0.
    const Word* row_of(const Word* bits, int plane, int64_t y) const {
        return bits + plane * plane_words() + y * l_.stride_h * l_.row_words;
    }

    // From words of a pixel's channels to words of a channel's images.
    void raise(const ArrayInput& input, Word* bits) const {
        const int64_t pixel_bytes = words_for(l_.channels) * 8, image_bytes = l_.height * l_.width * pixel_bytes;
        memset(bits, 0, static_cast<size_t>(planes_ * plane_words()) * sizeof(Word));
        uint16_t quarters[kColumns][kImages] = {};  // of words
        for (int p = 0; p < planes_; ++p, bits += plane_words()) {
            const char* const plane = reinterpret_cast<const char*>(input.x) + p * input.images * image_bytes;
            for (int64_t y = 0; y < l_.height; ++y)
                for (int64_t x = 0; x < l_.width; x += kColumns) {
                    const int64_t count = l_.width - x < kColumns ? l_.width - x : kColumns;
                    const char* from = plane + (y * l_.width + x) * pixel_bytes;
                    for (int64_t first = 0; first < l_.channels; first += 16, from += sizeof quarters[0][0]) {
                        const char* of_image = from;
                        for (int64_t i = 0; i < input.images; ++i, of_image += image_bytes) {
                            const char* pixel = of_image;
                            for (int64_t c = 0; c < count; ++c, pixel += pixel_bytes)
                                memcpy(&quarters[c][i], pixel, sizeof quarters[c][i]);
                        }
                        for (int64_t c = 0; c < count; ++c) raise_column(quarters[c], y, x + c, first, bits);
                    }
                }
        }
    }

    // 16 channels of one pixel.
    void raise_column(const uint16_t (&quarters)[kImages], int64_t y, int64_t x, int64_t first, Word* bits) const {
        const int64_t column = x + l_.pad_w;
        Word* to = bits + first * l_.channel_words + (y + l_.pad_h) * l_.row_words +
                   column % l_.stride_w * l_.phase_words + column / l_.stride_w;
        alignas(64) uint8_t bytes[kImages];
        Word raised[8];
        for (int shift = 0; shift < 16; shift += 8) {
            for (int64_t i = 0; i < kImages; ++i) bytes[i] = static_cast<uint8_t>(quarters[i] >> shift);
            bits_of_bytes(bytes, raised);
            for (int64_t c = 0; c < 8 && first + shift + c < l_.channels; ++c, to += l_.channel_words) *to = raised[c];
        }
    }

    // ~T of every array and vector of an output row.
    void add_totals(const Word* row, Word* totals) const {
        for (int array = 0; array < l_.arrays; ++array) {
            const int64_t begin = l_.rows_end[array], rows = l_.rows_end[array + 1] - begin;
            for (int64_t v = 0; v < vectors_; ++v, totals += kMostVerticalPlanes * kLaneWords) {
                BitVector planes[kMostVerticalPlanes];
                zero(planes, width(l_.total_planes[array]));
                add_bits(row + v * kLaneWords, l_.rows + begin, rows, planes, width(l_.total_planes[array]));
                for (int p = 0; p < l_.total_planes[array]; ++p) store_bits(totals + p * kLaneWords, ~planes[p]);
            }
        }
    }

    static void zero(BitVector* planes, int count) {
        for (int p = 0; p < count; ++p) planes[p] = BitVector{};
    }

    static int width(int planes) { return planes < kLeastPlanes ? kLeastPlanes : planes; }

    // sums: [plane][channel of 16][words of the row]
    void count(const Word* row, const Word* totals, int64_t y, int64_t first, int64_t outputs, Word* sums) const {
        const int64_t row_words = vectors_ * kLaneWords, plane_words = 16 * row_words;
        for (int64_t o = 0; o < outputs; ++o)
            for (int64_t v = 0; v < vectors_; ++v) {
                BitVector reached[kMostVerticalPlanes], number[kMostVerticalPlanes];
                const int64_t column = v * kLaneWords, in_pattern = column % l_.columns;
                const int64_t pattern_output =
                    l_.pattern[y * l_.row_patterns + column / l_.columns] * l_.outputs + first + o;
                zero(reached, l_.sum_planes);
                for (int array = 0; array < l_.arrays; ++array) {
                    const int64_t list = (first + o) * l_.arrays + array;
                    const int total_planes = l_.total_planes[array];
                    const Word* const total = totals + (array * vectors_ + v) * kMostVerticalPlanes * kLaneWords;
                    // Without its lowest plane, to which nothing is added.
                    for (int p = 1; p < total_planes; ++p) number[p - 1] = bits_at(total + p * kLaneWords);
                    zero(number + total_planes - 1, width(total_planes) - total_planes + 1);
                    add_bits(row + v * kLaneWords, l_.chosen + l_.chosen_end[list],
                             l_.chosen_end[list + 1] - l_.chosen_end[list], number, width(total_planes));
                    const BitVector lowest = bits_at(total);
                    if constexpr (!kConverts) {
                        reached[0] = lowest;
                        for (int p = 0; p < total_planes; ++p) reached[p + 1] = number[p];
                        continue;
                    }
                    const BitVector inverted = BitVector{} + l_.inverted[list];
                    const int32_t* limit =
                        l_.limits + (pattern_output * l_.arrays + array) * l_.thresholds * l_.columns + in_pattern;
                    for (int j = 0; j < l_.thresholds; ++j, limit += l_.columns)
                        add_bit(reached, l_.sum_planes, reaches(lowest, number, total_planes, limit) ^ inverted);
                }
                if (l_.code_limits) {
                    const int32_t* limit = l_.code_limits + pattern_output * l_.columns + in_pattern;
                    const BitVector code = reaches(reached[0], reached + 1, l_.sum_planes - 1, limit);
                    store_bits(sums + o * row_words + v * kLaneWords,
                               code ^ (BitVector{} + l_.code_inverted[first + o]));
                    continue;
                }
                for (int p = 0; p < l_.sum_planes; ++p)
                    store_bits(sums + p * plane_words + o * row_words + v * kLaneWords, reached[p]);
            }
    }

    typedef int32_t Limits __attribute__((vector_size(4 * kLaneWords)));
    typedef std::make_signed_t<Word> LaneNumbers __attribute__((vector_size(kLaneBytes)));

    // Whether 2 * number + lowest >= limit; `inverse` holds ~limit of every word.
    static BitVector reaches(BitVector lowest, const BitVector* number, int planes, const int32_t* inverse) {
        Limits limits;
        memcpy(&limits, inverse, sizeof limits);
        const LaneNumbers limit = __builtin_convertvector(limits, LaneNumbers);
        const auto plane = [&](int p) { return (BitVector)((limit << (kImages - 1 - p)) < 0); };
        BitVector so_far = lowest | plane(0);
        for (int p = 0; p < planes; ++p) so_far = majority(number[p], plane(p + 1), so_far);
        return so_far & plane(planes + 1);
    }

    // From numbers that stand upright to sums of 16 channels, which are finished. Returns how many gates were open.
    template <class Finish>
    int64_t lower(const Word* sums, uint8_t* columns, int64_t images, int64_t y, int64_t x, int64_t first,
                  int64_t outputs, const Finish& finish) const {
        const int64_t count = l_.out_width - x < kColumns ? l_.out_width - x : kColumns;
        for (int p = 0; p < planes_; ++p)
            for (int byte = 0; byte < sum_bytes(); ++byte)
                lower_bytes(sums + p * sum_words(), byte, x, count, outputs,
                            columns + p * kColumnBytes + byte * kPlaneBytes);
        const Ints16 negative = ints_at(l_.negative + first);
        const auto sum_of = [&](const Ints16& number) {
            if constexpr (kConverts) return number * l_.gain;
            return ((number << 1) ^ negative) - negative;
        };
        const Ints16 thresholds = planes_ == 2 ? ints_at(gate_.thresholds + first) : Ints16{};
        const uint32_t lanes = outputs < 16 ? (1u << outputs) - 1 : 0xFFFF;
        const int64_t in_image = y * l_.out_width + x, pixels = l_.out_height * l_.out_width;
        const int32_t* starts[kColumns];
        for (int64_t c = 0; c < count; ++c) starts[c] = l_.start + l_.first_start[in_image + c] + first;
        const Finish own = finish;  // a copy that no store can change stays in registers
        int64_t open = 0;
        for (int64_t image = 0; image < images; ++image) {
            for (int64_t c = 0; c < count; ++c) own.fetch((image + kAhead) * pixels + in_image + c, first);
            for (int64_t c = 0; c < count; ++c) {
                const uint8_t* at = columns + (image * kColumns + c) * 16;
                const Ints16 start = ints_at(starts[c]);
                Ints16 sum = sum_of(number_at(at)) + start;
                if (planes_ == 2) {
                    const Ints16 low = sum, high = sum_of(number_at(at + kColumnBytes)) + start;
                    const Ints16 opens = high >= thresholds;
                    sum = high + high + (low & opens);
                    open += __builtin_popcount(sign_mask(opens) & lanes);
                }
                own(sum, image * pixels + in_image + c, first);
            }
        }
        return open;
    }

    // From codes that stand upright to those of 16 channels side by side.
    void lower_codes(const Word* sums, const Finishing& finishing, int64_t images, int64_t y, int64_t x, int64_t first,
                     int64_t outputs) const {
        const Finishing f = finishing;
        constexpr int kOctets = sizeof(Word);
        const int64_t row_words = vectors_ * kLaneWords;
        const int64_t count = l_.out_width - x < kColumns ? l_.out_width - x : kColumns;
        alignas(64) uint8_t octets[16][kColumns * kOctets] = {}, columns[kColumns * kOctets][16];
        for (int64_t o = 0; o < outputs; ++o)
            memcpy(octets[o], sums + o * row_words + x, static_cast<size_t>(count) * kOctets);
        transpose_bytes(octets, columns[0], 16);
        uint16_t masks[kImages][kColumns];
        for (int64_t c = 0; c < count; ++c)
            for (int64_t octet = 0; octet < kOctets; ++octet) {
                uint16_t some[8];
                masks_of_bytes(columns[c * kOctets + octet], some);
                for (int64_t i = 0; i < 8; ++i) masks[octet * 8 + i][c] = some[i];
            }
        const int64_t in_image = y * l_.out_width + x, pixels = l_.out_height * l_.out_width;
        for (int64_t image = 0; image < images; ++image)
            for (int64_t c = 0; c < count; ++c)
                store_half_word(f, 0, image * pixels + in_image + c, first, masks[image][c]);
    }

    Ints16 number_at(const uint8_t* at) const {
        const Ints16 low = ints_of_bytes(at);
        return sum_bytes() == 1 ? low : low + (ints_of_bytes(at + kPlaneBytes) << 8);
    }

    // to: [image][column][16 channels]
    void lower_bytes(const Word* sums, int byte, int64_t x, int64_t count, int64_t outputs, uint8_t* to) const {
        const int64_t row_words = vectors_ * kLaneWords;
        const int planes = l_.sum_planes - 8 * byte < 8 ? l_.sum_planes - 8 * byte : 8;
        for (int64_t c = 0; c < count; ++c) {
            alignas(64) uint8_t numbers[16][kImages];
            for (int64_t o = 0; o < outputs; ++o)
                bytes_of_planes(sums + (8 * byte * 16 + o) * row_words + x + c, 16 * row_words, planes, numbers[o]);
            for (int64_t o = outputs; o < 16; ++o) memset(numbers[o], 0, sizeof numbers[o]);
            transpose_bytes(numbers, to + c * 16, kColumns * 16);
        }
    }

    const VerticalLists& l_;
    const GatePlan& gate_;
    const int planes_;       // of activations
    const int64_t vectors_;  // of an output row
};

template <class Pixels, bool kConverts>
class Vertical : public ArrayCode {
public:
    Vertical(const VerticalArray& array) : l_(array.lists), gate_(array.gate) {}

    int64_t scratch_bytes() const override {
        const int64_t many = VerticalWords<Pixels, kConverts, uint64_t>(l_, gate_).scratch_bytes();
        const int64_t few = VerticalWords<Pixels, kConverts, uint32_t>(l_, gate_).scratch_bytes();
        return many < few ? few : many;
    }

    void run(const ArrayInput& input, const SumScale& scale, const Finishing& finishing,
             unsigned char* scratch) const override {
        const int64_t open = input.images > kMostVerticalImages / 2
                                 ? run_words<uint64_t>(input, scale, finishing, scratch)
                                 : run_words<uint32_t>(input, scale, finishing, scratch);
        if (!gate_.thresholds) return;
        __atomic_fetch_add(&open_, open, __ATOMIC_RELAXED);
        __atomic_fetch_add(&gates_, input.images * l_.out_height * l_.out_width * l_.outputs, __ATOMIC_RELAXED);
    }

    Gates take_gates() const override {
        return {__atomic_exchange_n(&open_, 0, __ATOMIC_RELAXED), __atomic_exchange_n(&gates_, 0, __ATOMIC_RELAXED)};
    }

private:
    template <class Word>
    int64_t run_words(const ArrayInput& input, const SumScale& scale, const Finishing& finishing,
                      unsigned char* scratch) const {
        return VerticalWords<Pixels, kConverts, Word>(l_, gate_).run(input, scale, finishing, scratch);
    }

    const VerticalLists& l_;
    const GatePlan gate_;
    mutable int64_t open_ = 0, gates_ = 0;
};

ArrayCode* new_vertical_array(const VerticalArray& array) {
    if (array.lists.thresholds) {
        if (array.integers) return new Vertical<IntegerPixels, true>(array);
        return new Vertical<FloatPixels, true>(array);
    }
    if (array.integers) return new Vertical<IntegerPixels, false>(array);
    return new Vertical<FloatPixels, false>(array);
}
