// Ideal cells: population counts of input bits and weight planes, output channels beside each other in 16-bit lanes.
//
// A lane counts 16 rows of its column at a time, so that an array of 128 rows takes eight steps and its conversion, which
// costs the same however many rows were counted, happens once per vector of columns. Included inside an instruction-set region.
#pragma once

namespace bnnkit {
namespace {

class CountingEngine {
public:
    static constexpr int64_t kRows = 64, kColumns = kLaneOutputs;

    explicit CountingEngine(const Prepared& prepared) : p_(prepared), method_(method_of(prepared)) {}

    int64_t scratch_bytes() const {
        return kRows * padded_planes() * (p_.steps + p_.args.conv.layout.arrays()) *
               static_cast<int64_t>(sizeof(uint32_t));
    }

    // Steps of 16 rows, each twice in a word, those of kPixels pixels and kInputs input bits beside each other:
    // [kRows / kPixels][planes / kInputs][steps][kPixels][kInputs]; then active rows: [x_planes][kRows][arrays].
    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        const int64_t words = p_.args.conv.layout.row_words(), planes = p_.args.conv.x_planes;
        uint32_t* bits = reinterpret_cast<uint32_t*>(scratch);
        int32_t* active = reinterpret_cast<int32_t*>(bits + padded_planes() * kRows * p_.steps);
        for (int64_t first = 0; first < planes; first += kInputs)
            for (int64_t r = 0; r < rows.count; ++r) {
                const uint64_t* from[kInputs];
                for (int64_t k = 0; k < kInputs; ++k)  // planes that fill a group up are not counted
                    from[k] = rows.words + ((first + k < planes ? first + k : first) * kRows + r) * words;
                uint32_t* to = bits + group_at(r, first) + r % kPixels * kInputs;
                for (int64_t word = 0; word < words; ++word) {
                    Quad quad;
                    for (int k = 0; k < kInputs; ++k) quad[k] = from[k][word];
                    for (int part = 0; part < kWordBits / kStepRows; ++part, quad >>= kStepRows, to += kTogether) {
                        const Quad sixteen = quad & 0xFFFF;
                        const Words4 twice = __builtin_convertvector(sixteen | sixteen << 16, Words4);
                        memcpy(to, &twice, sizeof twice);
                    }
                }
            }
        if (p_.needs_active) count_active<kRows>(p_.args.conv, rows, active);
    }

    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t, int64_t panel, int32_t* out) const {
        switch (method_) {
            case Method::lookup: return tile_by<Method::lookup>(rows, scratch, panel, out);
            case Method::lookup_clamped: return tile_by<Method::lookup_clamped>(rows, scratch, panel, out);
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
        int64_t arrays;
    };

    static constexpr int64_t kTogether = kPixels * kInputs;
    static_assert(kInputs == 4, "as many as a Quad has words");
    typedef uint64_t Quad __attribute__((vector_size(32)));
    typedef uint32_t Words4 __attribute__((vector_size(16)));
    int64_t padded_planes() const { return ceil_div(p_.args.conv.x_planes, kInputs) * kInputs; }
    int64_t group_at(int64_t r, int64_t z) const {
        return (r / kPixels * (padded_planes() / kInputs) + z / kInputs) * p_.steps * kTogether;
    }

    template <Method kMethod>
    void tile_by(const RowBlock& rows, const unsigned char* scratch, int64_t panel, int32_t* out) const {
        int r = 0;
        for (; r + kPixels <= rows.count; r += kPixels) pixels<kMethod, kPixels>(scratch, r, panel, out);
        for (; r < rows.count; ++r) pixels<kMethod, 1>(scratch, r, panel, out);
    }

    template <Method kMethod, int NP>
    void pixels(const unsigned char* scratch, int64_t r, int64_t panel, int32_t* out) const {
        const int planes = p_.args.conv.x_planes;
        const int64_t column = panel * kLaneOutputs, arrays = p_.args.conv.layout.arrays();
        alignas(64) double total[NP][kLaneOutputs];
        for (int i = 0; i < NP; ++i) memcpy(total[i], p_.base + column, sizeof total[i]);
        const uint32_t* bits = reinterpret_cast<const uint32_t*>(scratch);
        const auto* active = reinterpret_cast<const int32_t*>(bits + padded_planes() * kRows * p_.steps);
        for (int c = 0; c < p_.args.slices; ++c) {
            alignas(64) int32_t all_bits[NP][kLaneOutputs] = {};
            for (int z = 0; z < planes; z += kInputs) {
                const Inputs inputs{bits + group_at(r, z) + r % kPixels * kInputs, active + (z * kRows + r) * arrays,
                                    arrays};
                switch (planes - z) {
                    case 1: input_bits<kMethod, NP, 1>(inputs, z, c, column, all_bits, total); break;
                    case 2: input_bits<kMethod, NP, 2>(inputs, z, c, column, all_bits, total); break;
                    case 3: input_bits<kMethod, NP, 3>(inputs, z, c, column, all_bits, total); break;
                    default: input_bits<kMethod, NP, kInputs>(inputs, z, c, column, all_bits, total); break;
                }
            }
            if (p_.args.converter_bits == 1)
                for (int i = 0; i < NP; ++i) add_scaled(p_, all_bits[i], c, column, total[i]);
        }
        for (int i = 0; i < NP; ++i) finish_columns(p_, total[i], column, out + (r + i) * kColumns);
    }

    template <Method kMethod, int NP, int NI>
    void input_bits(const Inputs& inputs, int z, int c, int64_t column, int32_t (&all_bits)[NP][kLaneOutputs],
                    double (&total)[NP][kLaneOutputs]) const {
        // Sums of codes fit 16 bits for so many arrays; a partial sum without a converter only alone.
        constexpr int64_t kArrays = kMethod == Method::none ? 1 : 256;
        const int64_t arrays = p_.args.conv.layout.arrays();
        alignas(64) int32_t wide[NP][NI][kLaneOutputs];
        for (int64_t first = 0; first < arrays; first += kArrays) {
            Shorts sums[NP][NI];
            slice<kMethod, NP, NI>(inputs, z, c, column, first, first + kArrays < arrays ? first + kArrays : arrays,
                                   sums);
            for (int i = 0; i < NP; ++i)
                for (int k = 0; k < NI; ++k) widen<kMethod>(sums[i][k], first == 0, wide[i][k]);
        }
        for (int k = 0; k < NI; ++k)
            for (int i = 0; i < NP; ++i) add_sums(p_, wide[i][k], z + k, c, column, all_bits[i], total[i]);
    }

    template <Method kMethod>
    void widen(const Shorts& sums, bool first, int32_t* wide) const {
        alignas(64) int16_t values[kLaneOutputs];
        memcpy(values, &sums, sizeof values);
        for (int j = 0; j < kLaneOutputs; ++j) {
            const int32_t value = kMethod == Method::none ? values[j] : static_cast<uint16_t>(values[j]);
            wide[j] = first ? value : wide[j] + value;
        }
    }

    // Sums of one slice's codes over the arrays first..end.
    template <Method kMethod, int NP, int NI>
    void slice(const Inputs& inputs, int z, int c, int64_t column, int64_t first, int64_t end,
               Shorts (&result)[NP][NI]) const {
        Shorts sums[NP][NI];
#pragma GCC unroll 8
        for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
            for (int k = 0; k < NI; ++k) sums[i][k] = Shorts{};
        const int64_t steps = p_.array_rows / kStepRows;
        const auto table_of = [&](int k) { return table_at(p_.count_codes + p_.args.pair(z + k, c) * kLookupCounts); };
        Table table;
        if constexpr (looks_up(kMethod)) table = table_of(0);
        for (int64_t s = first; s < end; ++s) {
            Shorts v[NP][NI];
            if (p_.first_plane[c + 1] - p_.first_plane[c] == 1) {
                count<NP, NI>(inputs, p_.first_plane[c], column, s * steps, steps, v);
                if constexpr (!looks_up(kMethod)) weigh(v, p_.first_plane[c]);
            } else {
                Shorts plane[NP][NI];
                count<NP, NI>(inputs, p_.first_plane[c], column, s * steps, steps, v);
                weigh(v, p_.first_plane[c]);
                for (int p = p_.first_plane[c] + 1; p < p_.first_plane[c + 1]; ++p) {
                    count<NP, NI>(inputs, p, column, s * steps, steps, plane);
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
                        v[i][k] +=
                            static_cast<int16_t>(p_.args.dummy[c] * inputs.active[(k * kRows + i) * inputs.arrays + s]);
#pragma GCC unroll 8
            for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
                for (int k = 0; k < NI; ++k) {
                    if (looks_up(kMethod) && p_.args.converter_bits > 1) table = table_of(k);
                    sums[i][k] += codes<kMethod>(v[i][k], table, z + k, c, column);
                }
        }
        memcpy(result, sums, sizeof sums);
    }

    template <int NP, int NI>
    void count(const Inputs& inputs, int plane, int64_t column, int64_t first, int64_t steps,
               Shorts (&counts)[NP][NI]) const {
        const int16_t* weights = p_.plane(column / kLaneOutputs, plane) + first * kLaneOutputs;
        const uint32_t* bits = inputs.bits + first * kTogether;
#pragma GCC unroll 8
        for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
            for (int k = 0; k < NI; ++k) counts[i][k] = Shorts{};
        for (int64_t step = 0; step < steps; ++step, bits += kTogether) {
            const Shorts w = shorts_at(weights + step * kLaneOutputs);
#pragma GCC unroll 8
            for (int i = 0; i < NP; ++i)
#pragma GCC unroll 8
                for (int k = 0; k < NI; ++k) counts[i][k] += population(meeting(w, bits + i * kInputs + k));
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
    Shorts codes(const Shorts& v, const Table& table, int z, int c, int64_t column) const {
        const int64_t pair = p_.args.pair(z, c);
        if constexpr (kMethod == Method::none) return v;
        if constexpr (kMethod == Method::lookup) return look_up(table, v);
        if constexpr (kMethod == Method::lookup_clamped) return look_up(table, at_most(v, kLookupCounts - 1));
        if constexpr (kMethod == Method::lookup_128)
            return select_equal(v, kLookupCounts, everywhere(p_.codes_of_128[pair]), look_up(table, v));
        alignas(64) int16_t values[kLaneOutputs];
        memcpy(values, &v, sizeof values);
        if constexpr (kMethod == Method::observe) {
            observe(p_, values, z, c, column);
            return Shorts{};
        }
        alignas(64) int32_t found[kLaneOutputs];
        Converter<kMethod == Method::affine ? Method::affine : Method::table>(p_, pair, column).codes(values, found);
        for (int j = 0; j < kLaneOutputs; ++j) values[j] = static_cast<int16_t>(found[j]);
        return shorts_at(values);
    }

    const Prepared& p_;
    const Method method_;
};

}  // namespace
}  // namespace bnnkit
