// The population-count algorithm of xnor, shared by the instruction sets. Included inside an instruction-set region after
// Lanes and constexpr kTileRows.
//
// A tile of kTileRows patches x kVectors vectors of output channels keeps all its sums in registers: per word one broadcast
// per patch, one load per vector, and exclusive-or + count + add per pair.

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
          borders_(borders),
          panels_(panels) {}

    int64_t scratch_bytes() const { return 0; }
    void prepare(const RowBlock&, unsigned char*) const {}

    void tile(const RowBlock& rows, const unsigned char*, int64_t group, int64_t panel, int32_t* out) const {
        const uint64_t* weights = panels_.panel(group, panel);
        const int64_t columns = outputs_ - panel * kColumns;
        switch (columns >= kColumns ? kVectors : static_cast<int>(ceil_div(columns, Lanes::kLanes))) {
            case 1: return columns_of<1>(rows, weights, out);
            case 2: return columns_of<2>(rows, weights, out);
            case 3: return columns_of<3>(rows, weights, out);
            default: return columns_of<4>(rows, weights, out);
        }
    }

private:
    template <int NV>
    void columns_of(const RowBlock& rows, const uint64_t* weights, int32_t* out) const {
        int r = 0;
        for (; r + kTileRows <= rows.count; r += kTileRows) rows_of<kTileRows, NV>(rows, r, weights, out);
        for (; r < rows.count; ++r) rows_of<1, NV>(rows, r, weights, out);
    }

    template <int MR, int NV>
    void rows_of(const RowBlock& rows, int r, const uint64_t* weights, int32_t* out) const {
        bool border = false;
        for (int i = 0; i < MR; ++i) border |= rows.border_class[r + i] != 0;
        if (border)
            sums<MR, NV, true>(rows, r, weights, out);
        else
            sums<MR, NV, false>(rows, r, weights, out);
    }

    template <int MR, int NV, bool kMasked>
    void sums(const RowBlock& rows, int r, const uint64_t* weights, int32_t* out) const {
        using V = Lanes::Vector;
        const uint64_t *x[MR], *mask[MR];
        V sum[MR][NV];
        for (int i = 0; i < MR; ++i) {
            x[i] = rows.words + (r + i) * words_;
            mask[i] = borders_.mask(rows.border_class[r + i]);
            for (int j = 0; j < NV; ++j) sum[i][j] = Lanes::zero();
        }
        for (int64_t word = 0; word < words_; ++word, weights += kColumns) {
            V w[NV];
            for (int j = 0; j < NV; ++j) w[j] = Lanes::load(weights + j * Lanes::kLanes);
            for (int i = 0; i < MR; ++i) {
                const V a = Lanes::broadcast(x[i][word]);
                if constexpr (kMasked) {
                    const V m = Lanes::broadcast(mask[i][word]);
                    for (int j = 0; j < NV; ++j) sum[i][j] = Lanes::add(sum[i][j], Lanes::differing(a, w[j], m));
                } else {
                    for (int j = 0; j < NV; ++j) sum[i][j] = Lanes::add(sum[i][j], Lanes::differing(a, w[j]));
                }
            }
        }
        for (int i = 0; i < MR; ++i) {
            const V valid = Lanes::broadcast(static_cast<uint64_t>(borders_.valid_rows(rows.border_class[r + i])));
            for (int j = 0; j < NV; ++j)
                Lanes::store_int32(out + (r + i) * kColumns + j * Lanes::kLanes,
                                   Lanes::sub(valid, Lanes::shift_left(sum[i][j], 1)));
        }
    }

    int64_t words_, outputs_;
    const BorderClasses& borders_;
    const Panels& panels_;
};

inline void xnor_by_counting(const XnorArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const Panels panels(args.conv, XnorEngine::kColumns);
    const XnorEngine engine(args.conv, borders, panels);
    for_each_tile(args.conv, borders, engine,
                  [&](const int32_t* tile, int64_t pixel, int64_t pixels, int64_t output, int64_t outputs) {
                      write_sums<XnorEngine::kColumns>(args, tile, pixel, pixels, output, outputs);
                  });
}

}  // namespace
}  // namespace bnnkit
