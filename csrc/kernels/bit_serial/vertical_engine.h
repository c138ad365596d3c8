// Ideal cells by adding bits of many patches side by side ("vertically"). Included inside an instruction-set region after
// lanes_*.h, blocks.h, cell_rows.h and number_codes_*.h.
//
// The patches of a block are turned, so that a row of bits holds one input bit of 512 patches. The partial sums of an array are then
// numbers whose bits lie in vectors, one vector per digit, and a row of the array whose cell is set is added to 512 or 256 of them
// by two (AVX-512) or five operations. Eight digits become bytes, which the converter turns into codes. Where rows count upwards
// and downwards, those downwards are added first and all digits are inverted: what follows makes them up - down - 1, modulo 256.
//
// Sums of codes are kept in 16 bits, in the order in which digits become bytes (add_codes), and put in order with the outputs.
#pragma once

namespace bnnkit {
namespace {

class VerticalEngine {
public:
    static constexpr int64_t kRows = TurnedPatches::kPatches;
    static constexpr int64_t kColumns = 4;  // whose sums of codes the first cache holds

    static bool can_list(const BitSerialArgs& args) {
        return CellRows::can_list(args) && !args.histogram && args.conversion != Conversion::none &&
               args.converter_bits == 1 && args.converters == 1;
    }

    VerticalEngine(const BitSerialArgs& args, const CellRows& cells)
        : args_(args), cells_(cells), turned_(args.conv.layout.row_words()), arrays_(args.conv.layout.arrays()) {
        for (int c = 0; c < args.slices; ++c) {
            const CellRows::Reach reach = cells.reach(c);
            if (!reach.fits_byte()) return;
            slices_.push_back(slice(c, reach));
        }
        int largest = 1;
        for (const Slice& slice : slices_) largest = std::max(largest, slice.codes.largest());
        most_arrays_ = 65535 / largest;
        doubles_ = arrays_ * ((1 << args.conv.x_planes) - 1) <= most_arrays_;
    }

    // Whether every partial sum is one of at most 256 numbers.
    bool can_count() const { return static_cast<int>(slices_.size()) == args_.slices; }

    int64_t scratch_bytes() const { return args_.conv.x_planes * turned_.bytes(); }

    void prepare(const RowBlock& block, unsigned char* scratch) const {
        RowBlock plane = block;
        for (int z = 0; z < args_.conv.x_planes; ++z, plane.words += kRows * args_.conv.layout.row_words())
            turned_.turn(plane, scratch + z * turned_.bytes());
    }

    // Fills out[kColumns][kRows] with outputs, as the bits of floats.
    void tile(const RowBlock& block, const unsigned char* scratch, int64_t, int64_t panel, int32_t* out) const {
        const int64_t first = panel * kColumns, left = args_.conv.geometry.out_channels - first;
        const Tile tile{first, left < kColumns ? left : kColumns, ceil_div(block.count, kLaneBits)};
        CodeSums sums;
        WideSums totals;
        for (int64_t o = 0; o < tile.outputs; ++o)
            for (int c = 0; c < args_.slices; ++c) {
                memset(sums.of[o][c], 0, sizeof sums.of[o][c]);
                memset(totals.of[o][c], 0, sizeof totals.of[o][c]);
            }
        for (int z = args_.conv.x_planes - 1; z >= 0; --z) {
            const auto* const bits = reinterpret_cast<const uint64_t*>(scratch + z * turned_.bytes());
            for (int64_t array = 0; array < arrays_; array += most_arrays_) {
                const int64_t end = array + most_arrays_ < arrays_ ? array + most_arrays_ : arrays_;
                for (int64_t s = array; s < end; ++s) add_array(tile, bits, s, sums);
                if (!doubles_) widen(tile, z, sums, totals);
            }
            if (doubles_ && z > 0) twice(tile, sums);
        }
        if (doubles_) widen(tile, 0, sums, totals);
        for (int64_t o = 0; o < tile.outputs; ++o, out += kRows)
            for (int64_t v = 0; v < tile.vectors; ++v) finish(tile.first + o, totals.of[o], v, out + v * kLaneBits);
    }

private:
    static constexpr int64_t kVectors = TurnedPatches::kVectors, kLaneBits = TurnedPatches::kVectorPatches;

    template <class Sum>
    struct Sums {
        alignas(64) SumRows<Sum> of[kColumns][kMaxSlices][kVectors];
    };
    using CodeSums = Sums<uint16_t>;
    using WideSums = Sums<int32_t>;

    struct Tile {
        int64_t first, outputs, vectors;
    };

    struct Slice {
        const std::vector<CellRows::Part>& parts;
        bool counts_ones;  // one part, without a weight
        NumberCodes codes;
    };

    Slice slice(int c, const CellRows::Reach& reach) const {
        const auto& parts = cells_.parts(c);
        const bool downwards = !parts.empty() && parts.front().negative;
        const bool negated = downwards && parts.back().negative;
        const int64_t past_complement = downwards && !negated ? 1 : 0;
        const auto most = static_cast<int>(reach.down + reach.up);
        uint8_t codes[256] = {};
        for (int n = 0; n <= most; ++n) codes[n] = code_of(args_, args_.pair(0, c), n - reach.down);
        return {parts, parts.size() == 1 && parts.front().power == 0,
                NumberCodes(codes, most, {negated, static_cast<uint8_t>(reach.down + past_complement)})};
    }

    // What one input bit makes of an array. All is counted before it is converted, each in a loop whose registers hold what it needs.
    void add_array(const Tile& tile, const uint64_t* bits, int64_t array, CodeSums& sums) const {
        for (int64_t v = 0; v < tile.vectors; ++v, bits += TurnedPatches::kVectorWords) {
            Counted counted[kColumns][kMaxSlices];
            for (int64_t o = 0; o < tile.outputs; o += CellRows::kOutputs) {
                const CellRows::Lists lists = cells_.of((tile.first + o) / CellRows::kOutputs, array);
                Rows rows{bits, lists.offsets, lists.ends};
                for (int c = 0; c < args_.slices; ++c) {
                    const Slice& slice = slices_[static_cast<size_t>(c)];
                    count_pair(slice, rows, o + 1 < tile.outputs, &counted[o][c]);
                    rows.ends += CellRows::kShares * slice.parts.size();
                }
            }
            for (int c = 0; c < args_.slices; ++c)
                slices_[static_cast<size_t>(c)].codes.add(&counted[0][c], tile.outputs, kMaxSlices, sums.of[0][c][v][0],
                                                          sizeof sums.of[0] / sizeof(uint16_t));
        }
    }

    // Bits of a vector of patches, and the lists of two outputs' slice.
    struct Rows {
        const uint64_t* bits;
        const int32_t *offsets, *ends;
    };

    // Into counted[0] and, of the second output, counted[kMaxSlices].
    static void count_pair(const Slice& slice, const Rows& rows, bool second, Counted* counted) {
        const auto count_with = [&](const auto& add) __attribute__((always_inline)) {
            BitVector digits[kByteDigits];
#pragma GCC unroll 8
            for (BitVector& digit : digits) digit = BitVector{};  // in pieces: one fill costs more than an array
            add_as_pair(digits, second, add,
                        [&](int which, const BitVector(&number)[kByteDigits]) __attribute__((always_inline)) {
#pragma GCC unroll 8
                            for (int p = 0; p < kByteDigits; ++p) counted[which * kMaxSlices].digits[p] = number[p];
                        });
        };
        if (slice.counts_ones)
            count_with([&](int share, BitVector(&digits)[kByteDigits]) __attribute__((always_inline)) {
                add_few_bits(rows.bits, rows.offsets + rows.ends[share - 1], rows.offsets + rows.ends[share], digits);
            });
        else
            count_with([&](int share, BitVector(&digits)[kByteDigits])
                           __attribute__((always_inline)) { count_parts(slice, rows, share, digits); });
    }

    // Of any slice. What counts downwards is added to the complement of what counts upwards.
    static void count_parts(const Slice& slice, const Rows& rows, int share, BitVector (&digits)[kByteDigits]) {
        const auto parts = static_cast<int>(slice.parts.size());
        const int32_t* end = rows.ends + share * parts;
        bool negative = parts != 0 && (share == 0 ? slice.parts.front() : slice.parts.back()).negative;
        for (const CellRows::Part part : slice.parts) {
            if (part.negative != negative)
                for (BitVector& digit : digits) digit = ~digit;
            negative = part.negative;
            add_bits(rows.bits, rows.offsets + end[-1], end[0] - end[-1], digits + part.power,
                     kByteDigits - part.power);
            ++end;
        }
    }

    void twice(const Tile& tile, CodeSums& sums) const {
        for (int64_t o = 0; o < tile.outputs; ++o)
            for (int c = 0; c < args_.slices; ++c) {
                uint16_t* const all = &sums.of[o][c][0][0][0];
                for (int64_t i = 0; i < tile.vectors * kLaneBits; ++i) all[i] = static_cast<uint16_t>(2 * all[i]);
            }
    }

    // Moves sums of codes of input bit z into those of all bits.
    void widen(const Tile& tile, int z, CodeSums& sums, WideSums& totals) const {
        for (int64_t o = 0; o < tile.outputs; ++o)
            for (int c = 0; c < args_.slices; ++c) {
                uint16_t* const from = &sums.of[o][c][0][0][0];
                int32_t* const to = &totals.of[o][c][0][0][0];
                for (int64_t i = 0; i < tile.vectors * kLaneBits; ++i) {
                    to[i] += static_cast<int32_t>(from[i]) << z;
                    from[i] = 0;
                }
            }
    }

    // The outputs of a vector's patches, in their order.
    void finish(int64_t output, const SumRows<int32_t> (&totals)[kMaxSlices][kVectors], int64_t v, int32_t* out) const {
        const auto all_codes = static_cast<int32_t>(arrays_ * ((1 << args_.conv.x_planes) - 1));
        const double bias = args_.bias ? args_.bias[output] : 0.0;
        for (int64_t first = 0; first < kSumLanes; first += 16) {
            Ints16 rows[kSumRows];
            for (int r = 0; r < kSumRows; ++r) {
                auto total = spread<Doubles16>(args_.base[0]);
                for (int c = 0; c < args_.slices; ++c) {
                    const int32_t lowest = slices_[static_cast<size_t>(c)].codes.lowest() * all_codes;
                    total += args_.factor[c] * numbers<Doubles16>(ints_at(totals[c][v][r] + first) + lowest);
                }
                rows[r] = as<Ints16>(numbers<Floats16>(total * args_.scale + spread<Doubles16>(bias)));
            }
            transpose(rows);
            for (int i = 0; i < 16; ++i) store_wide(out + (first + i) * 16, rows[i]);
        }
    }

    const BitSerialArgs& args_;
    const CellRows& cells_;
    TurnedPatches turned_;
    int64_t arrays_, most_arrays_ = 1;
    bool doubles_ = false;  // whether 16 bits hold the sum over all input bits: then it is doubled from bit to bit
    std::vector<Slice> slices_;
};

struct TurnedOutputWriter {
    const BitSerialArgs& args;
    Output output{args.y, args.conv.geometry};

    void operator()(const int32_t* tile, int64_t pixel, int64_t pixels, int64_t first_output, int64_t outputs) const {
        write_turned(args.conv.geometry, tile, pixel, pixels, first_output, outputs, output, Unchanged{});
    }
};

// Whether it could; where not, nothing was computed.
inline bool run_vertically(const BitSerialArgs& args) {
    if (!VerticalEngine::can_list(args)) return false;
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const CellRows cells(args, borders);
    const VerticalEngine engine(args, cells);
    if (!engine.can_count()) return false;
    for_each_tile(args.conv, borders, engine, TurnedOutputWriter{args});
    return true;
}

inline void run_either_way(const BitSerialArgs& args, int64_t vertical_patches) {
    if (args.conv.geometry.batch * args.conv.geometry.out_pixels() < vertical_patches || !run_vertically(args))
        run_by_counting(args);
}

}  // namespace
}  // namespace bnnkit
