// Precision gates around a counting engine. Included inside run_code.h, in an instruction-set region.
//
// Activations have two planes, 2 * high + low. The sums of the high bits decide, output by output, whether those of the low bits
// are added: 2 * high + (high >= threshold ? low : 0). Low bits are counted for all outputs, or only for the groups of kTileRows
// pixels x one panel of outputs where at least one gate is open.
#pragma once

class NoGates {
public:
    Gates take_gates() const { return {}; }
    Hits take_hits() const { return {}; }
};

template <class Engine>
class Ungated : public Engine, public NoGates {
public:
    using Engine::Engine;
    const Engine& of(const int64_t*) const { return *this; }
};

template <class Inner>
class GatedEngine {
public:
    static constexpr int64_t kRows = Inner::kRows, kColumns = Inner::kColumns;

    template <class... Converter>
    GatedEngine(const BinaryConv& conv, const BorderClasses& borders, const Panels& panels, const GatePlan& gate,
                const Converter&... converter)
        : one_plane_(one_plane_of(conv)),
          inner_(one_plane_, borders, panels, converter...),
          gate_(gate),
          words_(conv.layout.row_words()) {}
    GatedEngine(const GatedEngine&) = delete;

    const GatedEngine& of(const int64_t*) const { return *this; }
    int64_t scratch_bytes() const { return inner_.scratch_bytes(); }
    void prepare(const RowBlock& rows, unsigned char* scratch) const { inner_.prepare(rows, scratch); }

    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t group, int64_t panel, int32_t* out) const {
        const RowBlock high{rows.words + kRows * words_, rows.border_class, rows.count, rows.first_pixel};
        inner_.tile(high, scratch, group, panel, out);
        const int32_t* thresholds = gate_.thresholds + panel * kColumns;
        const int64_t outputs = outputs_of(panel);  // the engine leaves the columns after these as they are
        alignas(64) int32_t low[kRows * kColumns];
        if (!gate_.skips) inner_.tile(rows, scratch, group, panel, low);
        int64_t open = 0;
        for (int r = 0; r < rows.count; r += kTileRows) {
            const int count = rows.count - r < kTileRows ? rows.count - r : kTileRows;
            if (gate_.skips) {
                if (!any_open(out + r * kColumns, count, outputs, thresholds)) {
                    for (int64_t i = r * kColumns; i < (r + count) * kColumns; ++i) out[i] = shifted(out[i]);
                    continue;
                }
                const RowBlock some{rows.words + r * words_, rows.border_class + r, count, rows.first_pixel + r};
                inner_.tile(some, scratch, group, panel, low + r * kColumns);
            }
            for (int64_t row = r; row < r + count; ++row)
                open += combine(out + row * kColumns, low + row * kColumns, outputs, thresholds);
        }
        __atomic_fetch_add(&open_, open, __ATOMIC_RELAXED);
        __atomic_fetch_add(&outputs_, rows.count * outputs, __ATOMIC_RELAXED);
    }

    Hits take_hits() const { return {}; }
    Gates take_gates() const {
        return {__atomic_exchange_n(&open_, 0, __ATOMIC_RELAXED), __atomic_exchange_n(&outputs_, 0, __ATOMIC_RELAXED)};
    }

private:
    static BinaryConv one_plane_of(BinaryConv conv) {
        conv.x_planes = 1;
        return conv;
    }

    int64_t outputs_of(int64_t panel) const {
        const int64_t left = one_plane_.geometry.out_channels - panel * kColumns;
        return left < kColumns ? left : kColumns;
    }

    // Twice a sum; columns that hold no sum may hold anything.
    static int32_t shifted(int32_t sum) { return static_cast<int32_t>(static_cast<uint32_t>(sum) << 1); }

    static bool any_open(const int32_t* high, int rows, int64_t outputs, const int32_t* thresholds) {
        int32_t any = 0;
        for (int r = 0; r < rows; ++r, high += kColumns)
            for (int64_t c = 0; c < outputs; ++c) any |= high[c] >= thresholds[c];
        return any != 0;
    }

    static int32_t combine(int32_t* high, const int32_t* low, int64_t outputs, const int32_t* thresholds) {
        int32_t open = 0;
        for (int64_t c = 0; c < outputs; ++c) {
            const bool opens = high[c] >= thresholds[c];
            high[c] = shifted(high[c]) + (opens ? low[c] : 0);
            open += opens;
        }
        return open;
    }

    const BinaryConv one_plane_;
    const Inner inner_;
    const GatePlan gate_;
    const int64_t words_;
    mutable int64_t open_ = 0, outputs_ = 0;
};
