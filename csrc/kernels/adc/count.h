// The population-count algorithm of adc, shared by the instruction sets. Included inside an instruction-set region after
// Lanes, Converting (accumulate one array's counts) and constexpr kTileRows.
//
// A tile of kTileRows patches x up to kVectors vectors of output channels keeps its level sums in registers; the counts of one
// array live only between the last word of the array and its conversion.

namespace bnnkit {
namespace {

using Method = CountConverter::Method;

class AdcEngine {
public:
    static constexpr int64_t kRows = 64;
    static constexpr int kVectors = 4;
    static constexpr int64_t kColumns = kVectors * Lanes::kLanes;

    AdcEngine(const BinaryConv& conv, const BorderClasses& borders, const Panels& panels,
              const CountConverter& converter)
        : conv_(conv),
          words_(conv.layout.row_words()),
          arrays_(conv.layout.arrays()),
          array_words_(conv.layout.array_words()),
          outputs_(conv.geometry.group_outputs()),
          borders_(borders),
          panels_(panels),
          converter_(converter) {}

    int64_t scratch_bytes() const { return 0; }
    void prepare(const RowBlock&, unsigned char*) const {}

    void tile(const RowBlock& rows, const unsigned char*, int64_t group, int64_t panel, int32_t* out) const {
        const uint64_t* weights = panels_.panel(group, panel);
        switch (converter_.method()) {
            case Method::multiply: return planes_of<Method::multiply, false>(rows, weights, panel, out);
            case Method::compare: return planes_of<Method::compare, false>(rows, weights, panel, out);
            case Method::lookup:
                return converter_.reaches_128() ? planes_of<Method::lookup, true>(rows, weights, panel, out)
                                                : planes_of<Method::lookup, false>(rows, weights, panel, out);
        }
    }

private:
    using V = Lanes::Vector;

    template <Method kMethod, bool kFold>
    void planes_of(const RowBlock& rows, const uint64_t* weights, int64_t panel, int32_t* out) const {
        if (conv_.x_planes == 1 && conv_.w_planes == 1 && array_words_ == 2)
            columns_of<kMethod, kFold, 2>(rows, weights, panel, out);
        else
            columns_of<kMethod, kFold, 0>(rows, weights, panel, out);
    }

    // kWords: words per array when both operands have one plane, or 0 for any number of words and planes.
    template <Method kMethod, bool kFold, int kWords>
    void columns_of(const RowBlock& rows, const uint64_t* weights, int64_t panel, int32_t* out) const {
        const int64_t left = outputs_ - panel * kColumns;
        switch (left >= kColumns ? kVectors : static_cast<int>(ceil_div(left, Lanes::kLanes))) {
            case 1: return rows_of<kMethod, kFold, kWords, 1>(rows, weights, out);
            case 2: return rows_of<kMethod, kFold, kWords, 2>(rows, weights, out);
            case 3: return rows_of<kMethod, kFold, kWords, 3>(rows, weights, out);
            default: return rows_of<kMethod, kFold, kWords, 4>(rows, weights, out);
        }
    }

    template <Method kMethod, bool kFold, int kWords, int NV>
    void rows_of(const RowBlock& rows, const uint64_t* weights, int32_t* out) const {
        int r = 0;
        for (; r + kTileRows <= rows.count; r += kTileRows) {
            bool border = false;
            for (int i = 0; i < kTileRows; ++i) border |= rows.border_class[r + i] != 0;
            if (border)
                sums<kMethod, kFold, kWords, kTileRows, NV, true>(rows, r, weights, out);
            else
                sums<kMethod, kFold, kWords, kTileRows, NV, false>(rows, r, weights, out);
        }
        for (; r < rows.count; ++r) sums<kMethod, kFold, kWords, 1, NV, true>(rows, r, weights, out);
    }

    // Weighted mismatch counts of one array of one patch, added to `counts`.
    template <int NV, bool kMasked>
    void count_words(const uint64_t* x, const uint64_t* mask, const uint64_t* w, int64_t words, V (&counts)[NV]) const {
        for (int64_t word = 0; word < words; ++word, w += kColumns) {
            const V a = Lanes::broadcast(x[word]);
            if constexpr (kMasked) {
                const V m = Lanes::broadcast(mask[word]);
                for (int j = 0; j < NV; ++j)
                    counts[j] = Lanes::add(counts[j], Lanes::differing(a, Lanes::load(w + j * Lanes::kLanes), m));
            } else {
                for (int j = 0; j < NV; ++j)
                    counts[j] = Lanes::add(counts[j], Lanes::differing(a, Lanes::load(w + j * Lanes::kLanes)));
            }
        }
    }

    template <int NV, bool kMasked>
    void count_planes(const uint64_t* x, const uint64_t* mask, const uint64_t* w, V (&counts)[NV]) const {
        for (int p = 0; p < conv_.x_planes; ++p) {
            for (int q = 0; q < conv_.w_planes; ++q) {
                V plane[NV];
                for (int j = 0; j < NV; ++j) plane[j] = Lanes::zero();
                count_words<NV, kMasked>(x + p * kRows * words_, mask, w + q * panels_.plane_stride(), array_words_,
                                         plane);
                const int shift = conv_.x_shift(p) + conv_.w_shift(q);
                for (int j = 0; j < NV; ++j) counts[j] = Lanes::add(counts[j], Lanes::shift_left(plane[j], shift));
            }
        }
    }

    template <Method kMethod, bool kFold, int kWords, int MR, int NV, bool kMasked>
    void sums(const RowBlock& rows, int r, const uint64_t* weights, int32_t* out) const {
        const uint64_t *x[MR], *mask[MR];
        const Steps* const* steps[MR];
        V sum[MR][NV];
        for (int i = 0; i < MR; ++i) {
            x[i] = rows.words + (r + i) * words_;
            mask[i] = borders_.mask(rows.border_class[r + i]);
            steps[i] = converter_.steps(rows.border_class[r + i]);
            for (int j = 0; j < NV; ++j) sum[i][j] = Lanes::zero();
        }
        const int64_t words = kWords ? kWords : array_words_;
        for (int64_t array = 0; array < arrays_; ++array, weights += words * kColumns) {
            for (int i = 0; i < MR; ++i) {
                const Steps& step = *steps[i][array];
                const V first = kMethod == Method::multiply ? Lanes::broadcast(step.start) : Lanes::zero();
                V counts[NV];
                for (int j = 0; j < NV; ++j) counts[j] = first;
                const uint64_t *a = x[i] + array * words, *m = mask[i] + array * words;
                if constexpr (kWords != 0)
                    count_words<NV, kMasked>(a, m, weights, kWords, counts);
                else
                    count_planes<NV, kMasked>(a, m, weights, counts);
                Converting<kMethod, kFold>::accumulate(converter_, step, counts, sum[i]);
            }
        }
        const V gain = Lanes::broadcast(static_cast<uint64_t>(converter_.gain()));
        for (int i = 0; i < MR; ++i) {
            const V correction =
                Lanes::broadcast(static_cast<uint64_t>(converter_.correction(rows.border_class[r + i])));
            for (int j = 0; j < NV; ++j)
                Lanes::store_int32(out + (r + i) * kColumns + j * Lanes::kLanes,
                                   Lanes::add(correction, Lanes::multiply_low32(sum[i][j], gain)));
        }
    }

    const BinaryConv& conv_;
    int64_t words_, arrays_, array_words_, outputs_;
    const BorderClasses& borders_;
    const Panels& panels_;
    const CountConverter& converter_;
};

inline void adc_by_counting(const AdcArgs& args, int shift, int factor_bits, bool has_lookup) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const Panels panels(args.conv, AdcEngine::kColumns);
    const CountConverter converter(args, borders, shift, factor_bits, has_lookup);
    const AdcEngine engine(args.conv, borders, panels, converter);
    for_each_tile(args.conv, borders, engine, LevelWriter<AdcEngine::kColumns>{args});
}

}  // namespace
}  // namespace bnnkit
