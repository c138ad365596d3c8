// The population-count algorithm of adc, shared by the instruction sets. Included inside an instruction-set region after
// Lanes, Converting (accumulate one array's counts) and write.h.
//
// A tile of kTileRows patches x up to kVectors vectors of output channels keeps its level sums in registers; the counts of one
// array live only between the last word of the array and its conversion.
#pragma once

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
          panels_(panels),
          converter_(converter),
          starts_(conv, borders, panels, arrays_, -1, [&](int32_t border, int64_t array) {
              return converter.method() == Method::multiply ? converter.steps(border)[array]->start : 0;
          }) {}

    int64_t scratch_bytes() const { return 0; }
    void prepare(const RowBlock&, unsigned char*) const {}

    void tile(const RowBlock& rows, const unsigned char*, int64_t group, int64_t panel, int32_t* out) const {
        const Tile tile{rows, group, panel, panels_.panel(group, panel), out};
        switch (converter_.method()) {
            case Method::multiply: return planes_of<Method::multiply, false>(tile);
            case Method::compare: return planes_of<Method::compare, false>(tile);
            case Method::lookup: return look_up(tile);
        }
    }

private:
    using V = Lanes::Vector;

    struct Tile {
        const RowBlock& rows;
        int64_t group, panel;
        const uint64_t* weights;
        int32_t* out;
    };

    // Two words of one plane are counted up to 127, which is as good as 128 unless that has a level of its own.
    void look_up(const Tile& tile) const {
        if (two_words() ? converter_.parts_128() : converter_.reaches_128())
            planes_of<Method::lookup, true>(tile);
        else
            planes_of<Method::lookup, false>(tile);
    }

    bool two_words() const { return conv_.x_planes == 1 && conv_.w_planes == 1 && array_words_ == 2; }

    template <Method kMethod, bool kParts128>
    void planes_of(const Tile& tile) const {
        if (two_words())
            columns_of<kMethod, kParts128, 2>(tile);
        else
            columns_of<kMethod, kParts128, 0>(tile);
    }

    // kWords: words per array when both operands have one plane, or 0 for any number of words and planes.
    template <Method kMethod, bool kParts128, int kWords>
    void columns_of(const Tile& tile) const {
        const int64_t left = outputs_ - tile.panel * kColumns;
        switch (left >= kColumns ? kVectors : static_cast<int>(ceil_div(left, Lanes::kLanes))) {
            case 1: return rows_of<kMethod, kParts128, kWords, 1>(tile);
            case 2: return rows_of<kMethod, kParts128, kWords, 2>(tile);
            case 3: return rows_of<kMethod, kParts128, kWords, 3>(tile);
            default: return rows_of<kMethod, kParts128, kWords, 4>(tile);
        }
    }

    template <Method kMethod, bool kParts128, int kWords, int NV>
    void rows_of(const Tile& tile) const {
        int r = 0;
        for (; r + kTileRows <= tile.rows.count; r += kTileRows) {
            if (inside(tile.rows, r))
                sums<kMethod, kParts128, kWords, kTileRows, NV, true>(tile, r);
            else
                sums<kMethod, kParts128, kWords, kTileRows, NV, false>(tile, r);
        }
        for (; r < tile.rows.count; ++r) sums<kMethod, kParts128, kWords, 1, NV, false>(tile, r);
    }

    // Whether no row has padding: they share the steps, and every output's count starts alike.
    static bool inside(const RowBlock& rows, int first) {
        int32_t border = 0;
        for (int i = 0; i < kTileRows; ++i) border |= rows.border_class[first + i];
        return border == 0;
    }

    // Weighted mismatch counts of one array of one patch, added to `counts`.
    template <int NV>
    void count_words(const uint64_t* x, const uint64_t* w, int64_t words, V (&counts)[NV]) const {
        Lanes::for_tallies(words, [&](int64_t first, int64_t last) {
            Lanes::Tally tally[NV];
            for (int j = 0; j < NV; ++j) tally[j] = Lanes::open_tally(counts[j]);
            for (int64_t word = first; word < last; ++word, w += kColumns) {
                const V a = Lanes::broadcast(x[word]);
                for (int j = 0; j < NV; ++j)
                    tally[j] = Lanes::tally_differing(tally[j], a, Lanes::load(w + j * Lanes::kLanes));
            }
            for (int j = 0; j < NV; ++j) counts[j] = Lanes::close_tally(counts[j], tally[j]);
        });
    }

    template <Method kMethod, int NV>
    void count_pairs(const uint64_t* x, const uint64_t* w, V (&counts)[NV]) const {
        const V a = Lanes::broadcast(x[0]), b = Lanes::broadcast(x[1]);
#pragma GCC unroll 4
        for (int j = 0; j < NV; ++j)
            counts[j] = Converting<kMethod, false>::count_two(counts[j], a, b, w + j * Lanes::kLanes, kColumns);
    }

    template <int NV>
    void count_planes(const uint64_t* x, const uint64_t* w, V (&counts)[NV]) const {
        for (int p = 0; p < conv_.x_planes; ++p) {
            for (int q = 0; q < conv_.w_planes; ++q) {
                V plane[NV];
                for (int j = 0; j < NV; ++j) plane[j] = Lanes::zero();
                count_words<NV>(x + p * kRows * words_, w + q * panels_.plane_stride(), array_words_, plane);
                const int shift = conv_.x_shift(p) + conv_.w_shift(q);
                for (int j = 0; j < NV; ++j) counts[j] = Lanes::add(counts[j], Lanes::shift_left(plane[j], shift));
            }
        }
    }

    template <Method kMethod, bool kParts128, int kWords, int MR, int NV, bool kInside>
    void sums(const Tile& tile, int r) const {
        const uint64_t *x[MR], *start[MR];
        const Steps* const* steps[MR];
        V sum[MR][NV];
#pragma GCC unroll 4
        for (int i = 0; i < MR; ++i) {
            const int32_t border = tile.rows.border_class[r + i];
            x[i] = tile.rows.words + (r + i) * words_;
            start[i] = starts_.of(border, tile.group, tile.panel);
            steps[i] = converter_.steps(border);
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j) sum[i][j] = Lanes::zero();
        }
        const int64_t words = kWords ? kWords : array_words_;
        const uint64_t* weights = tile.weights;
        for (int64_t array = 0; array < arrays_; ++array, weights += words * kColumns) {
#pragma GCC unroll 4
            for (int i = 0; i < MR; ++i) {
                V counts[NV];
#pragma GCC unroll 4
                for (int j = 0; j < NV; ++j)
                    counts[j] = !kInside ? Lanes::load(start[i] + array * kColumns + j * Lanes::kLanes)
                                : kMethod == Method::multiply ? Lanes::broadcast(steps[0][array]->start)
                                                              : Lanes::zero();
                if constexpr (kHasLookup && kMethod == Method::lookup && !kParts128 && kWords == 2)
                    count_pairs<kMethod, NV>(x[i] + array * words, weights, counts);
                else if constexpr (kWords != 0)
                    count_words<NV>(x[i] + array * words, weights, kWords, counts);
                else
                    count_planes<NV>(x[i] + array * words, weights, counts);
                Converting<kMethod, kParts128>::accumulate(converter_, *steps[kInside ? 0 : i][array], counts, sum[i]);
            }
        }
        const V gain = Lanes::broadcast(static_cast<uint64_t>(converter_.gain()));
#pragma GCC unroll 4
        for (int i = 0; i < MR; ++i) {
            const V correction =
                Lanes::broadcast(static_cast<uint64_t>(converter_.correction(tile.rows.border_class[r + i])));
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j)
                Lanes::store_int32(tile.out + (r + i) * kColumns + j * Lanes::kLanes,
                                   Lanes::add(correction, Lanes::multiply_low32(sum[i][j], gain)));
        }
    }

    const BinaryConv& conv_;
    int64_t words_, arrays_, array_words_, outputs_;
    const Panels& panels_;
    const CountConverter& converter_;
    BorderTable starts_;
};

inline void adc_by_counting(const AdcArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const Panels panels(args.conv, AdcEngine::kColumns);
    const CountConverter converter(args, borders, kShift, kHasLookup);
    const AdcEngine engine(args.conv, borders, panels, converter);
    for_each_tile(args.conv, borders, engine, LevelWriter<AdcEngine::kColumns>{args});
}

}  // namespace
}  // namespace bnnkit
