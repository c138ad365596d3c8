// The population-count algorithm of xnor, shared by the instruction sets. Included inside an instruction-set region after
// Lanes and write.h.
//
// A tile of kTileRows patches x kVectors vectors of output channels keeps all its sums in registers: per word one broadcast
// per patch, one load per vector, and exclusive-or + count + add per pair.
#pragma once

namespace bnnkit {
namespace {

class XnorEngine {
public:
    static constexpr int64_t kRows = 64;
    static constexpr int kVectors = 4;
    static constexpr int64_t kColumns = kVectors * Lanes::kLanes;

    XnorEngine(const BinaryConv& conv, const BorderClasses& borders, const Panels& panels)
        : words_(conv.layout.row_words()),
          outputs_(conv.geometry.group_outputs()),
          panels_(panels),
          starts_(conv, borders, panels, 1, 2, [&](int32_t border, int64_t) { return borders.valid_rows(border); }) {}

    int64_t scratch_bytes() const { return 0; }
    void prepare(const RowBlock&, unsigned char*) const {}

    void tile(const RowBlock& rows, const unsigned char*, int64_t group, int64_t panel, int32_t* out) const {
        const int64_t columns = outputs_ - panel * kColumns;
        switch (columns >= kColumns ? kVectors : static_cast<int>(ceil_div(columns, Lanes::kLanes))) {
            case 1: return rows_of<1>(rows, group, panel, out);
            case 2: return rows_of<2>(rows, group, panel, out);
            case 3: return rows_of<3>(rows, group, panel, out);
            default: return rows_of<4>(rows, group, panel, out);
        }
    }

private:
    template <int NV>
    void rows_of(const RowBlock& rows, int64_t group, int64_t panel, int32_t* out) const {
        int r = 0;
        for (; r + kTileRows <= rows.count; r += kTileRows) sums<kTileRows, NV>(rows, r, group, panel, out);
        for (; r < rows.count; ++r) sums<1, NV>(rows, r, group, panel, out);
    }

    template <int MR, int NV>
    void sums(const RowBlock& rows, int r, int64_t group, int64_t panel, int32_t* out) const {
        using V = Lanes::Vector;
        const uint64_t* x[MR];
        const uint64_t* weights = panels_.panel(group, panel);
        V sum[MR][NV];
#pragma GCC unroll 4
        for (int i = 0; i < MR; ++i) {
            x[i] = rows.words + (r + i) * words_;
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j) sum[i][j] = Lanes::zero();
        }
        Lanes::for_tallies(words_, [&](int64_t first, int64_t last) {
            Lanes::Tally tally[MR][NV];
#pragma GCC unroll 4
            for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
                for (int j = 0; j < NV; ++j) tally[i][j] = Lanes::open_tally(sum[i][j]);
            for (int64_t word = first; word < last; ++word, weights += kColumns) {
                V w[NV];
#pragma GCC unroll 4
                for (int j = 0; j < NV; ++j) w[j] = Lanes::load(weights + j * Lanes::kLanes);
#pragma GCC unroll 4
                for (int i = 0; i < MR; ++i) {
                    const V a = Lanes::broadcast(x[i][word]);
#pragma GCC unroll 4
                    for (int j = 0; j < NV; ++j) tally[i][j] = Lanes::tally_differing(tally[i][j], a, w[j]);
                }
            }
#pragma GCC unroll 4
            for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
                for (int j = 0; j < NV; ++j) sum[i][j] = Lanes::close_tally(sum[i][j], tally[i][j]);
        });
#pragma GCC unroll 4
        for (int i = 0; i < MR; ++i) {
            const uint64_t* start = starts_.of(rows.border_class[r + i], group, panel);
#pragma GCC unroll 4
            for (int j = 0; j < NV; ++j)
                Lanes::store_int32(out + (r + i) * kColumns + j * Lanes::kLanes,
                                   Lanes::sub(Lanes::load(start + j * Lanes::kLanes), Lanes::shift_left(sum[i][j], 1)));
        }
    }

    int64_t words_, outputs_;
    const Panels& panels_;
    BorderTable starts_;
};

inline void xnor_by_counting(const XnorArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const Panels panels(args.conv, XnorEngine::kColumns);
    const XnorEngine engine(args.conv, borders, panels);
    for_each_tile(args.conv, borders, engine, SumWriter<XnorEngine::kColumns>{args});
}

}  // namespace
}  // namespace bnnkit
