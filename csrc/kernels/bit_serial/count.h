// Ideal cells: population counts of input bits and weight planes, 32 output channels beside each other in 16-bit lanes.
//
// A lane counts 16 rows of its column at a time, so that an array of 128 rows takes eight steps and its conversion, which
// costs the same however many rows were counted, happens once per 32 columns. Included inside an instruction-set region.

namespace bnnkit {
namespace {

class CountingEngine {
public:
    static constexpr int64_t kRows = 64, kColumns = kPanelOutputs;

    explicit CountingEngine(const Prepared& prepared) : p_(prepared), method_(method_of(prepared)) {}

    int64_t scratch_bytes() const {
        return kRows * p_.args.conv.x_planes *
               (p_.steps * static_cast<int64_t>(sizeof(uint32_t)) +
                p_.args.conv.layout.arrays() * static_cast<int64_t>(sizeof(int32_t)));
    }

    // Steps of 16 rows, each twice in a word: [x_planes][kRows][steps]; then active rows: [x_planes][kRows][arrays].
    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        const int64_t words = p_.args.conv.layout.row_words(), arrays = p_.args.conv.layout.arrays();
        const int64_t array_words = p_.args.conv.layout.array_words();
        uint32_t* to = reinterpret_cast<uint32_t*>(scratch);
        int32_t* active = reinterpret_cast<int32_t*>(to + p_.args.conv.x_planes * kRows * p_.steps);
        for (int z = 0; z < p_.args.conv.x_planes; ++z)
            for (int64_t r = 0; r < kRows; ++r, to += p_.steps, active += arrays) {
                if (r >= rows.count) continue;
                const uint64_t* from = rows.words + (z * kRows + r) * words;
                for (int64_t step = 0; step < p_.steps; ++step) {
                    const auto bits = static_cast<uint16_t>(from[step / 4] >> (step % 4 * kStepRows));
                    to[step] = bits | static_cast<uint32_t>(bits) << 16;
                }
                for (int64_t s = 0; p_.needs_active && s < arrays; ++s) {
                    active[s] = 0;
                    for (int64_t i = 0; i < array_words; ++i)
                        active[s] += __builtin_popcountll(from[s * array_words + i]);
                }
            }
    }

    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t, int64_t panel, int32_t* out) const {
        switch (method_) {
            case Method::lookup: return tile_by<Method::lookup>(rows, scratch, panel, out);
            case Method::lookup_128: return tile_by<Method::lookup_128>(rows, scratch, panel, out);
            case Method::affine: return tile_by<Method::affine>(rows, scratch, panel, out);
            case Method::table: return tile_by<Method::table>(rows, scratch, panel, out);
            case Method::none: return tile_by<Method::none>(rows, scratch, panel, out);
            case Method::observe: return tile_by<Method::observe>(rows, scratch, panel, out);
        }
    }

private:
    // Where the bits and the active rows of some pixels and input bits begin.
    struct Inputs {
        const uint32_t* bits;
        const int32_t* active;
        int64_t pixel_steps, plane_steps, arrays, plane_arrays;
    };

    template <Method kMethod>
    void tile_by(const RowBlock& rows, const unsigned char* scratch, int64_t panel, int32_t* out) const {
        int r = 0;
        for (; r + kPixels <= rows.count; r += kPixels) pixels<kMethod, kPixels>(scratch, r, panel, out);
        for (; r < rows.count; ++r) pixels<kMethod, 1>(scratch, r, panel, out);
    }

    template <Method kMethod, int NP>
    void pixels(const unsigned char* scratch, int64_t r, int64_t panel, int32_t* out) const {
        const int planes = p_.args.conv.x_planes;
        const int64_t column = panel * kPanelOutputs, arrays = p_.args.conv.layout.arrays();
        alignas(64) double total[NP][kPanelOutputs];
        for (int i = 0; i < NP; ++i) memcpy(total[i], p_.base + column, sizeof total[i]);
        const auto* bits = reinterpret_cast<const uint32_t*>(scratch);
        const auto* active = reinterpret_cast<const int32_t*>(bits + planes * kRows * p_.steps);
        const auto at = [&](int first) {
            return Inputs{bits + (first * kRows + r) * p_.steps,
                          active + (first * kRows + r) * arrays,
                          p_.steps,
                          kRows * p_.steps,
                          arrays,
                          kRows * arrays};
        };
        for (int c = 0; c < p_.args.slices; ++c) {
            int z = 0;
            for (; z + kInputs <= planes; z += kInputs) input_bits<kMethod, NP, kInputs>(at(z), z, c, panel, total);
            for (; z < planes; ++z) input_bits<kMethod, NP, 1>(at(z), z, c, panel, total);
        }
        for (int i = 0; i < NP; ++i) finish_columns(p_, total[i], column, out + (r + i) * kColumns);
    }

    template <Method kMethod, int NP, int NI>
    void input_bits(const Inputs& inputs, int z, int c, int64_t panel, double (&total)[NP][kPanelOutputs]) const {
        // Sums of codes fit 16 bits for so many arrays; a partial sum without a converter only alone.
        constexpr int64_t kArrays = kMethod == Method::none ? 1 : 256;
        const int64_t arrays = p_.args.conv.layout.arrays();
        alignas(64) int32_t wide[NP][NI][kPanelOutputs] = {};
        Shorts sums[NP][NI];
        for (int64_t first = 0; first < arrays; first += kArrays) {
            slice<kMethod, NP, NI>(inputs, z, c, panel, first, first + kArrays < arrays ? first + kArrays : arrays,
                                   sums);
            for (int i = 0; i < NP; ++i)
                for (int k = 0; k < NI; ++k) widen<kMethod>(sums[i][k], wide[i][k]);
        }
        for (int k = 0; k < NI; ++k)
            for (int i = 0; i < NP; ++i)
                add_scaled(p_, wide[i][k], (z + k) * p_.args.slices + c, panel * kPanelOutputs, total[i]);
    }

    template <Method kMethod>
    void widen(const Shorts& sums, int32_t* wide) const {
        alignas(64) int16_t values[kPanelOutputs];
        memcpy(values, &sums, sizeof values);
        for (int j = 0; j < kPanelOutputs; ++j)
            wide[j] += kMethod == Method::none ? values[j] : static_cast<uint16_t>(values[j]);
    }

    // Sums of one slice's codes over the arrays first..end.
    template <Method kMethod, int NP, int NI>
    void slice(const Inputs& inputs, int z, int c, int64_t panel, int64_t first, int64_t end,
               Shorts (&result)[NP][NI]) const {
        Shorts sums[NP][NI];
#pragma GCC unroll 8
        for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
            for (int k = 0; k < NI; ++k) sums[i][k] = Shorts{};
        const int64_t steps = p_.array_rows / kStepRows;
        for (int64_t s = first; s < end; ++s) {
            Shorts v[NP][NI];
            if (p_.first_plane[c + 1] - p_.first_plane[c] == 1) {
                count<NP, NI>(inputs, p_.first_plane[c], panel, s * steps, steps, v);
                if constexpr (kMethod != Method::lookup && kMethod != Method::lookup_128) weigh(v, p_.first_plane[c]);
            } else {
                Shorts plane[NP][NI];
                count<NP, NI>(inputs, p_.first_plane[c], panel, s * steps, steps, v);
                weigh(v, p_.first_plane[c]);
                for (int p = p_.first_plane[c] + 1; p < p_.first_plane[c + 1]; ++p) {
                    count<NP, NI>(inputs, p, panel, s * steps, steps, plane);
                    weigh(plane, p);
#pragma GCC unroll 8
                    for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
                        for (int k = 0; k < NI; ++k) v[i][k] += plane[i][k];
                }
            }
            if (p_.args.dummy[c] != 0)
                for (int i = 0; i < NP; ++i)
                    for (int k = 0; k < NI; ++k)
                        v[i][k] += static_cast<int16_t>(p_.args.dummy[c] *
                                                        inputs.active[i * inputs.arrays + k * inputs.plane_arrays + s]);
#pragma GCC unroll 8
            for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
                for (int k = 0; k < NI; ++k)
                    sums[i][k] += codes<kMethod>(v[i][k], (z + k) * p_.args.slices + c, panel * kPanelOutputs);
        }
        memcpy(result, sums, sizeof sums);
    }

    template <int NP, int NI>
    void count(const Inputs& inputs, int plane, int64_t panel, int64_t first, int64_t steps,
               Shorts (&counts)[NP][NI]) const {
        const int16_t* weights = p_.plane(panel, plane) + first * kPanelOutputs;
        const uint32_t* bits = inputs.bits + first;
#pragma GCC unroll 8
        for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
            for (int k = 0; k < NI; ++k) counts[i][k] = Shorts{};
        for (int64_t step = 0; step < steps; ++step) {
            const Shorts w = shorts_at(weights + step * kPanelOutputs);
#pragma GCC unroll 8
            for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
                for (int k = 0; k < NI; ++k)
                    counts[i][k] +=
                        population(w & rows_at(bits + i * inputs.pixel_steps + k * inputs.plane_steps + step));
        }
    }

    template <int NP, int NI>
    void weigh(Shorts (&counts)[NP][NI], int plane) const {
        const auto weight = static_cast<int16_t>(p_.args.plane_weight[plane]);
        if (weight == 1) return;
        for (int i = 0; i < NP; ++i)
            for (int k = 0; k < NI; ++k) counts[i][k] = weight == -1 ? -counts[i][k] : counts[i][k] * weight;
    }

    template <Method kMethod>
    Shorts codes(const Shorts& v, int64_t pair, int64_t column) const {
        if constexpr (kMethod == Method::none) return v;
        if constexpr (kMethod == Method::lookup) return look_up(p_.count_codes + pair * kLookupCounts, v);
        if constexpr (kMethod == Method::lookup_128)
            return select_equal(v, kLookupCounts, everywhere(p_.codes_of_128[pair]),
                                look_up(p_.count_codes + pair * kLookupCounts, v));
        alignas(64) int16_t values[kPanelOutputs];
        memcpy(values, &v, sizeof values);
        if constexpr (kMethod == Method::observe) {
            observe(p_, values, pair, column);
            return Shorts{};
        }
        if constexpr (kMethod == Method::affine) return affine_codes(p_, values, pair, column);
        return table_codes(p_, values, pair);
    }

    const Prepared& p_;
    const Method method_;
};

}  // namespace
}  // namespace bnnkit
