// Other cells: every cell is a number of its own, so that rows cannot be counted; their numbers are added up.
//
// An input bit adds a row or leaves it out. For four rows at a time all sixteen sums are made once per array, slice and panel
// of columns and then looked up by all input bits of all pixels of a block: one addition per four rows. Included inside an
// instruction-set region.
#pragma once

namespace bnnkit {
namespace {

class AnalogEngine {
public:
    static constexpr int64_t kRows = 64, kColumns = kLaneOutputs;

    explicit AnalogEngine(const Prepared& prepared) : p_(prepared), method_(method_of(prepared)) {}

    int64_t scratch_bytes() const {
        return (table_shorts() + sum_words() * 2 + total_words() * 4) * 2 + active_words() * 4;
    }

    // Active rows of every array, [x_planes][kRows][arrays], where noise asks for them; the rest is filled per tile.
    void prepare(const RowBlock& rows, unsigned char* scratch) const {
        if (p_.needs_active) count_active<kRows>(p_.args.conv, rows, room(scratch).active);
    }

    void tile(const RowBlock& rows, const unsigned char* scratch, int64_t, int64_t panel, int32_t* out) const {
        unsigned char* memory = const_cast<unsigned char*>(scratch);  // of this thread alone
        switch (method_) {
            case Method::affine: return tile_by<Method::affine>(rows, memory, panel, out);
            case Method::table: return tile_by<Method::table>(rows, memory, panel, out);
            case Method::observe: return tile_by<Method::observe>(rows, memory, panel, out);
            default: return tile_by<Method::none>(rows, memory, panel, out);
        }
    }

private:
    struct Room {
        int16_t* table;   // [array_rows / 4][16][kLaneOutputs]
        int32_t* sums;    // [kRows][x_planes][kLaneOutputs]
        double* totals;   // [kRows][kLaneOutputs]
        int32_t* active;  // [x_planes][kRows][arrays]
    };
    int64_t table_shorts() const { return p_.array_rows / 4 * 16 * kLaneOutputs; }
    int64_t sum_words() const { return kRows * p_.args.conv.x_planes * kLaneOutputs; }
    int64_t total_words() const { return kRows * kLaneOutputs; }
    int64_t active_words() const { return p_.args.conv.x_planes * kRows * p_.args.conv.layout.arrays(); }
    Room room(unsigned char* scratch) const {
        int16_t* table = reinterpret_cast<int16_t*>(scratch);
        int32_t* sums = reinterpret_cast<int32_t*>(table + table_shorts());
        double* totals = reinterpret_cast<double*>(sums + sum_words());
        return {table, sums, totals, reinterpret_cast<int32_t*>(totals + total_words())};
    }

    template <Method kMethod>
    void tile_by(const RowBlock& rows, unsigned char* scratch, int64_t panel, int32_t* out) const {
        const Room at = room(scratch);
        const int planes = p_.args.conv.x_planes;
        const int64_t arrays = p_.args.conv.layout.arrays(), words = p_.args.conv.layout.row_words();
        const int64_t array_words = p_.args.conv.layout.array_words(), column = panel * kLaneOutputs;
        for (int r = 0; r < rows.count; ++r)
            memcpy(at.totals + r * kLaneOutputs, p_.base + column, kLaneOutputs * sizeof(double));
        for (int c = 0; c < p_.args.slices; ++c) {
            memset(at.sums, 0, static_cast<size_t>(sum_words()) * sizeof(int32_t));
            for (int64_t s = 0; s < arrays; ++s) {
                fill_table(p_.cells(panel, c, s), at.table);
                for (int z = 0; z < planes; ++z) {
                    const uint64_t* bits = rows.words + z * kRows * words + s * array_words;
                    int32_t* sums = at.sums + z * kLaneOutputs;
                    const auto of_rows = [&](const auto& add) __attribute__((always_inline)) {
                        for (int r = 0; r < rows.count; ++r, bits += words, sums += planes * kLaneOutputs) {
                            alignas(64) int16_t v[kLaneOutputs];
                            const Shorts sum = partial_sums(at.table, bits, array_words);
                            memcpy(v, &sum, sizeof v);
                            add(r, v);
                        }
                    };
                    if (p_.args.noise.amplitude)
                        of_rows([&](int r, const int16_t* v) {
                            alignas(64) int32_t noisy[kLaneOutputs];
                            add_noise_to(v, rows, at, r, z, c, s, column, noisy);
                            add_codes<kMethod>(noisy, z, c, column, sums);
                        });
                    else
                        of_rows([&](int, const int16_t* v)
                                    __attribute__((always_inline)) { add_codes<kMethod>(v, z, c, column, sums); });
                }
            }
            for (int r = 0; r < rows.count; ++r) {
                alignas(64) int32_t all_bits[kLaneOutputs] = {};
                double* total = at.totals + r * kLaneOutputs;
                for (int z = 0; z < planes; ++z)
                    add_sums(p_, at.sums + (r * planes + z) * kLaneOutputs, z, c, column, all_bits, total);
                if (p_.args.converter_bits == 1) add_scaled(p_, all_bits, c, column, total);
            }
        }
        for (int r = 0; r < rows.count; ++r)
            finish_columns(p_, at.totals + r * kLaneOutputs, column, out + r * kColumns);
    }

    void fill_table(const int16_t* cells, int16_t* table) const {
        for (int64_t row = 0; row < p_.array_rows; row += 4, table += 16 * kLaneOutputs) {
            Shorts sums[16];
            sums[0] = Shorts{};
#pragma GCC unroll 4
            for (int bit = 0; bit < 4; ++bit) {
                const Shorts cell = shorts_at(cells + (row + bit) * kLaneOutputs);
#pragma GCC unroll 8
                for (int below = 0; below < 1 << bit; ++below) sums[(1 << bit) + below] = sums[below] + cell;
            }
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i) memcpy(table + i * kLaneOutputs, &sums[i], sizeof sums[i]);  // from registers
        }
    }

    static Shorts partial_sums(const int16_t* table, const uint64_t* bits, int64_t words) {
        constexpr int64_t kFour = 16 * kLaneOutputs;
        Shorts even{}, odd{};
        for (int64_t i = 0; i < words; ++i, table += 16 * kFour) {
            uint64_t left = bits[i];
            if (left == 0) continue;  // high bits of activations seldom are set
#pragma GCC unroll 8
            for (int group = 0; group < 16; group += 2, left >>= 8) {
                even += shorts_at(table + group * kFour + (left & 15) * kLaneOutputs);
                odd += shorts_at(table + (group + 1) * kFour + (left >> 4 & 15) * kLaneOutputs);
            }
        }
        return even + odd;
    }

    void add_noise_to(const int16_t* v, const RowBlock& rows, const Room& at, int r, int z, int c, int64_t s,
                      int64_t column, int32_t* noisy) const {
        const int64_t arrays = p_.args.conv.layout.arrays(), pixels = p_.args.conv.geometry.out_pixels();
        const int32_t amplitude = p_.args.noise.amplitude[at.active[(z * kRows + r) * arrays + s]];
        const uint32_t key = noise_key(p_.args.noise, (rows.first_pixel + r) / pixels, (rows.first_pixel + r) % pixels,
                                       (z * arrays + s) * p_.args.slices + c);
        add_noise(p_.args.noise, key, amplitude, column, v, noisy);
    }

    template <Method kMethod, class Sum>
    __attribute__((always_inline)) void add_codes(const Sum* v, int z, int c, int64_t column, int32_t* sums) const {
        if constexpr (kMethod == Method::observe) {
            observe(p_, v, z, c, column);
        } else if constexpr (kMethod == Method::none) {
            for (int j = 0; j < kLaneOutputs; ++j) sums[j] += v[j];
        } else {
            alignas(64) int32_t codes[kLaneOutputs];
            Converter<kMethod>(p_, p_.args.pair(z, c), column).codes(v, codes);
            for (int j = 0; j < kLaneOutputs; ++j) sums[j] += codes[j];
        }
    }

    const Prepared& p_;
    const Method method_;
};

}  // namespace
}  // namespace bnnkit
