// Convolutions whose numbers stand upright, see vertical_plan.h. Included inside run_code.h, in an instruction-set region.
#pragma once

// The bits of 16 images, one in each number.
template <class Number>
constexpr Number kBits[16] = {
    1,      1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
    1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, static_cast<Number>(1 << 15)};

// Sixteen sums, from the bytes of their digits and back to what is finished.
template <class Sums>
BNNKIT_INLINE Sums sums_of_bytes(const uint8_t* p) {
    if constexpr (std::is_same_v<Sums, Ints16>)
        return ints_of_bytes(p);
    else
        return shorts_of_bytes(p);
}

template <class Sums>
BNNKIT_INLINE Ints16 as_ints(const Sums& sums) {
    if constexpr (std::is_same_v<Sums, Ints16>)
        return sums;
    else
        return ints_of_shorts(sums);
}

// A layer in words of as many images as a Word has bits. Without converters nothing is multiplied, in case nothing may be.
template <class Pixels, bool kConverts, class Word>
class VerticalWords {
public:
    VerticalWords(const VerticalLists& lists, bool gated)
        : l_(lists), gated_(gated), vectors_(ceil_div(lists.out_width, kLaneWords)) {}

    int64_t scratch_bytes() const {
        return row_bytes() + planes() * (plane_words() + total_words() + block_words()) * int64_t{sizeof(Word)};
    }

    // Returns how many gates were open.
    int64_t run(const ArrayInput& input, const SumScale& scale, const Finishing& finishing,
                unsigned char* scratch) const {
        LimitsOfVector* const of_row = reinterpret_cast<LimitsOfVector*>(scratch);
        Word* const bits = reinterpret_cast<Word*>(scratch + row_bytes());
        Word* const totals = bits + planes() * plane_words();
        Word* const numbers = totals + planes() * total_words();
        const char* plane = reinterpret_cast<const char*>(input.x);
        for (int p = 0; p < planes(); ++p) {
            place(plane, bits + p * plane_words());
            plane += Abreast::of(input.images).plane_bytes(l_.channels, l_.height * l_.width);
        }
        int64_t open = 0;
        Pixels::with(finishing, scale, [&](const auto& finish) {
            for (int64_t y = 0; y < l_.out_height; ++y) {
                find_limits(y, of_row);
                for (int p = 0; p < planes(); ++p) add_totals(row_of(bits, p, y), totals + p * total_words());
                for (int64_t first = 0; first < l_.outputs; first += kBlock) {
                    const int64_t end = l_.outputs - first < kBlock ? l_.outputs : first + kBlock;
                    for (int p = 0; p < planes(); ++p)
                        count(row_of(bits, p, y), totals + p * total_words(), of_row, first, end,
                              numbers + p * block_words());
                    Word* of_output = numbers;
                    for (int64_t o = first; o < end; ++o, of_output += output_words())
                        if (gated_) {
                            open += combine(of_output, of_output + block_words(), of_row, o, input.images);
                            finish_row<true>(of_output, y, o, finish);
                        } else if (l_.code_limits) {
                            store_codes(of_output, of_row, y, o, finishing);
                        } else {
                            finish_row<false>(of_output, y, o, finish);
                        }
                }
            }
        });
        return open;
    }

private:
    static constexpr int kLaneWords = kLaneBytes / static_cast<int>(sizeof(Word));
    static constexpr int64_t kImages = 8 * sizeof(Word), kWordBytes = sizeof(Word);
    // Outputs that are counted array by array, so that the bits of an array stay in a first-level cache.
    static constexpr int64_t kBlock = kConverts ? 16 : kPair;

    int planes() const { return gated_ ? 2 : 1; }  // of activations
    int64_t row_bytes() const { return ceil_div(vectors_ * int64_t{sizeof(LimitsOfVector)}, 64) * 64; }
    // Of one plane of activations.
    int64_t plane_words() const { return (l_.channels + 1) * l_.channel_words; }
    int64_t total_words() const { return l_.arrays * vectors_ * kMostVerticalPlanes * kLaneWords; }
    int64_t row_words() const { return vectors_ * kLaneWords; }  // of an output row
    // Planes of the numbers of a row of one channel, and with gates whether they are open.
    int64_t output_words() const { return (number_planes() + 1) * row_words(); }
    int64_t block_words() const { return kBlock * output_words(); }
    int number_planes() const { return l_.sum_planes + (gated_ ? kGatedPlanes : 0); }

    // The word of the first tap of output row y, column 0.
    const Word* row_of(const Word* bits, int plane, int64_t y) const {
        return bits + plane * plane_words() + y * l_.stride_h * l_.row_words;
    }

    // From [channel][row][column] to where lists find them.
    void place(const char* plane, Word* bits) const {
        memset(bits, 0, static_cast<size_t>(plane_words()) * sizeof(Word));
        for (int64_t c = 0; c < l_.channels; ++c)
            for (int64_t y = 0; y < l_.height; ++y, plane += l_.width * kWordBytes) {
                Word* const row = bits + c * l_.channel_words + (y + l_.pad_h) * l_.row_words;
                if (l_.stride_w == 1) {
                    memcpy(row + l_.pad_w, plane, static_cast<size_t>(l_.width) * sizeof(Word));
                    continue;
                }
                for (int64_t x = 0; x < l_.width; ++x) {
                    const int64_t column = x + l_.pad_w;
                    memcpy(row + column % l_.stride_w * l_.phase_words + column / l_.stride_w, plane + x * kWordBytes,
                           sizeof(Word));
                }
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

    // Where the limits of a row's vectors begin: their pattern and, where it is wider than a vector, the place in it. Found once
    // per row, for divisions take as long as counting a few numbers.
    struct LimitsOfVector {
        int64_t pattern, column;
    };

    void find_limits(int64_t y, LimitsOfVector* of_row) const {
        for (int64_t v = 0; v < vectors_; ++v) {
            const int64_t column = v * kLaneWords;
            of_row[v] = {l_.pattern[y * l_.row_patterns + column / l_.columns], column % l_.columns};
        }
    }

    // What outputs end as in row y of one plane of activations: numbers [output][plane][words of the row].
    void count(const Word* row, const Word* totals, const LimitsOfVector* of_row, int64_t first, int64_t end,
               Word* numbers) const {
        for (int array = 0; array < l_.arrays; ++array)
            for (int64_t o = first; o < end; o += kPair)
                for (int64_t v = 0; v < vectors_; ++v) {
                    const Word* const total = totals + (array * vectors_ + v) * kMostVerticalPlanes * kLaneWords;
                    Word* const to = numbers + (o - first) * output_words() + v * kLaneWords;
                    if (l_.total_planes[array] <= kByteDigits)
                        count_pair<kByteDigits>(row + v * kLaneWords, total, array, of_row[v], o, end, to);
                    else
                        count_pair<kMostVerticalPlanes>(row + v * kLaneWords, total, array, of_row[v], o, end, to);
                }
    }

    // Of two outputs, the second of which may be past the last; numbers of at most kDigits planes.
    template <int kDigits>
    void count_pair(const Word* row, const Word* total, int array, const LimitsOfVector& limits, int64_t o, int64_t end,
                    Word* numbers) const {
        const int total_planes = l_.total_planes[array];
        const int64_t* const ends = l_.chosen_end + (array * ceil_div(l_.outputs, kPair) + o / kPair) * kShares;
        const auto add_share = [&](int share, BitVector(&digits)[kDigits]) __attribute__((always_inline)) {
            const int32_t *const from = l_.chosen + ends[share], *const to = l_.chosen + ends[share + 1];
            if constexpr (kDigits == kByteDigits)
                add_few_bits(row, from, to, digits);
            else
                add_bits(row, from, to - from, digits, width(total_planes));
        };
        // Without its lowest plane, to which nothing is added.
        BitVector digits[kDigits];
#pragma GCC unroll 16
        for (int p = 0; p < kDigits; ++p)
            digits[p] = p + 1 < total_planes ? bits_at(total + (p + 1) * kLaneWords) : BitVector{};
        add_as_pair(digits, o + 1 < end, add_share,
                    [&](int which, const BitVector(&number)[kDigits]) __attribute__((always_inline)) {
                        finish_array(number, bits_at(total), array, limits, o + which,
                                     numbers + which * output_words());
                    });
    }

    // What was counted, but for its lowest plane, becomes the output's number or adds to it.
    void finish_array(const BitVector* number, BitVector lowest, int array, const LimitsOfVector& limits, int64_t o,
                      Word* numbers) const {
        const int total_planes = l_.total_planes[array];
        if constexpr (!kConverts) {
            store_bits(numbers, lowest);
            for (int p = 0; p < total_planes; ++p) store_bits(numbers + (p + 1) * row_words(), number[p]);
            return;
        }
        const int64_t list = array * l_.outputs + o;
        BitVector reached[kMostVerticalPlanes];
        for (int p = 0; p < l_.sum_planes; ++p) reached[p] = array ? bits_at(numbers + p * row_words()) : BitVector{};
        const BitVector inverted = BitVector{} + l_.inverted[list];
        const int32_t* limit =
            l_.limits + (limits.pattern * l_.arrays * l_.outputs + list) * l_.thresholds * l_.columns + limits.column;
        for (int j = 0; j < l_.thresholds; ++j, limit += l_.columns)
            add_bit(reached, l_.sum_planes, reaches(lowest, number, total_planes, limit) ^ inverted);
        for (int p = 0; p < l_.sum_planes; ++p) store_bits(numbers + p * row_words(), reached[p]);
    }

    // The codes of a vector of numbers.
    BitVector code_of(const Word* numbers, const LimitsOfVector& limits, int64_t v, int64_t o) const {
        BitVector reached[kMostVerticalPlanes];
        for (int p = 0; p < l_.sum_planes; ++p) reached[p] = bits_at(numbers + p * row_words() + v * kLaneWords);
        const int32_t* limit = l_.code_limits + (limits.pattern * l_.outputs + o) * l_.columns + limits.column;
        return reaches(reached[0], reached + 1, l_.sum_planes - 1, limit) ^ (BitVector{} + l_.code_inverted[o]);
    }

    void store_codes(const Word* numbers, const LimitsOfVector* of_row, int64_t y, int64_t o,
                     const Finishing& f) const {
        char* to = reinterpret_cast<char*>(f.bits[0]) + (o * l_.out_height + y) * l_.out_width * kWordBytes;
        for (int64_t v = 0; v < vectors_; ++v, to += kLaneBytes) {
            const BitVector code = code_of(numbers, of_row[v], v, o);
            const int64_t left = l_.out_width - v * kLaneWords;
            if (left >= kLaneWords)
                store_bits(to, code);
            else
                memcpy(to, &code, static_cast<size_t>(left) * sizeof(Word));
        }
    }

    // Numbers become 2 * high + (open ? numbers : 0), followed by whether the gate is open. Returns how many are.
    int64_t combine(Word* numbers, const Word* high, const LimitsOfVector* of_row, int64_t o, int64_t images) const {
        Word* const opens = numbers + number_planes() * row_words();
        for (int64_t v = 0; v < vectors_; ++v) {
            const BitVector open = code_of(high, of_row[v], v, o);
            BitVector carry{}, low = bits_at(numbers + v * kLaneWords) & open;
            for (int p = 0; p < l_.sum_planes; ++p) {
                Word* const to = numbers + p * row_words() + v * kLaneWords;
                store_bits(to, low);
                low = p + 1 < l_.sum_planes ? bits_at(to + row_words()) & open : BitVector{};
                carry = add_two(low, bits_at(high + p * row_words() + v * kLaneWords), carry);
            }
            store_bits(numbers + l_.sum_planes * row_words() + v * kLaneWords, low);
            store_bits(numbers + (l_.sum_planes + 1) * row_words() + v * kLaneWords, carry);
            store_bits(opens + v * kLaneWords, open);
        }
        const Word all = ~Word{0} >> (kImages - images);
        int64_t count = 0;
        for (int64_t x = 0; x < l_.out_width; ++x) count += __builtin_popcountll(opens[x] & all);
        return count;
    }

    typedef int32_t Limits __attribute__((vector_size(4 * kLaneWords)));
    typedef std::make_signed_t<Word> LaneNumbers __attribute__((vector_size(kLaneBytes)));

    // Whether 2 * number + lowest >= limit; `inverse` holds ~limit of every word.
    static BitVector reaches(BitVector lowest, const BitVector* number, int planes, const int32_t* inverse) {
        Limits limits;
        memcpy(&limits, inverse, sizeof limits);
        const LaneNumbers limit = __builtin_convertvector(limits, LaneNumbers);
        const auto is_set = [&](int p) { return (limit << (kImages - 1 - p)) < 0; };
        BitVector so_far = lowest | (BitVector)is_set(0);
        for (int p = 0; p < planes; ++p) {
            const auto either = (LaneNumbers)(number[p] | so_far), both = (LaneNumbers)(number[p] & so_far);
            so_far = (BitVector)(is_set(p + 1) ? either : both);
        }
        return so_far & (BitVector)is_set(planes + 1);
    }

    // From numbers that stand upright to sums of images, which are finished.
    template <bool kGated, class Finish>
    void finish_row(const Word* numbers, int64_t y, int64_t o, const Finish& finish) const {
        if (l_.sums_are_short) return finish_row_in<Shorts16, kGated>(numbers, y, o, finish);
        finish_row_in<Ints16, kGated>(numbers, y, o, finish);
    }

    template <class Sums, bool kGated, class Finish>
    void finish_row_in(const Word* numbers, int64_t y, int64_t o, const Finish& finish) const {
        // Sums fit; what they are added from need not, and wraps.
        using Modulo = typename UnsignedOf<Sums>::Type;
        using Number = Value<std::remove_reference_t<decltype(Modulo{}.part[0])>>;
        const auto own = finish.of(o);  // no store can change it: it stays in registers
        const int64_t in_image = y * l_.out_width, first = o * l_.out_height * l_.out_width + in_image;
        const int planes = number_planes();
        const Word* const opens = numbers + planes * row_words();
        const Modulo bits = wide_at<Modulo>(kBits<Number>), negative = Modulo{} + l_.negative[o];
        alignas(64) uint8_t lows[8 * kLaneBytes], highs[8 * kLaneBytes];
        for (int64_t x = 0; x < l_.out_width; ++x) {
            const int64_t in_vector = x % kLaneWords;
            if (in_vector == 0) {
                bytes_of_plane_vectors(numbers + x, row_words(), planes < 8 ? planes : 8, lows);
                if (planes > 8) bytes_of_plane_vectors(numbers + 8 * row_words() + x, row_words(), planes - 8, highs);
            }
            const uint8_t *const low = lows + in_vector * kImages, *const high = highs + in_vector * kImages;
            const auto start = static_cast<Number>(l_.start[l_.first_start[in_image + x] + o]);
            const auto sums_of = [&](int64_t image) __attribute__((always_inline)) {
                auto sum = as<Modulo>(sums_of_bytes<Sums>(low + image));
                if (planes > 8) sum += as<Modulo>(sums_of_bytes<Sums>(high + image)) << 8;
                if constexpr (kConverts)
                    sum = sum * l_.gain;
                else
                    sum = ((sum << 1) ^ negative) - negative;
                if constexpr (kGated) {
                    const auto open = static_cast<Number>(static_cast<uint16_t>(opens[x] >> image));
                    sum += as<Modulo>(((Modulo{} + open) & bits) == bits) & (Modulo{} + start);
                    sum += start + start;
                } else {
                    sum += start;
                }
                return as_ints(as<Sums>(sum));
            };
            const int64_t lanes = finish.f.abreast.lanes;
            int64_t image = 0;
            for (; image + 32 <= lanes; image += 32)
                own(joined(sums_of(image), sums_of(image + 16)), MoreImagesOfChannel{{o, first + x, image}});
            if (image < lanes) own(sums_of(image), ImagesOfChannel{o, first + x, image});
        }
    }

    const VerticalLists& l_;
    const bool gated_;
    const int64_t vectors_;  // of an output row
};

template <class Pixels, bool kConverts>
class Vertical : public ArrayCode {
public:
    Vertical(const VerticalArray& array) : l_(array.lists), gated_(array.gated) {}

    int64_t scratch_bytes() const override {
        const int64_t many = VerticalWords<Pixels, kConverts, uint64_t>(l_, gated_).scratch_bytes();
        const int64_t few = VerticalWords<Pixels, kConverts, uint32_t>(l_, gated_).scratch_bytes();
        return many < few ? few : many;
    }

    void run(const ArrayInput& input, const SumScale& scale, const Finishing& finishing,
             unsigned char* scratch) const override {
        const int64_t open = input.images > kMostVerticalImages / 2
                                 ? run_words<uint64_t>(input, scale, finishing, scratch)
                                 : run_words<uint32_t>(input, scale, finishing, scratch);
        if (!gated_) return;
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
        return VerticalWords<Pixels, kConverts, Word>(l_, gated_).run(input, scale, finishing, scratch);
    }

    const VerticalLists& l_;
    const bool gated_;
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
