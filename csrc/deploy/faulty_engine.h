// Arrays whose sums and converters have faults. Included inside run_code.h, in an instruction-set region.
//
//   v     = sum * gain + offset + noise[h >> 20],      h = step(step(step(state, image), place), output)
//   code  = number of thresholds t with v >= t;        place = pixel * arrays + array
//   bit b of the code is hit where step(step(step(state of bits, image), place), output * bits + b) < below
//   code  = stuck, or at most the largest;             total += level[code]
//
// v has 16 fraction bits in 64: sums and gains take 32 bits at most, so nothing overflows. The totals are those of
// AdcEngine where no fault is active, and what finishes its totals finishes these. Loops over the outputs of a panel
// are plain: the compiler makes vectors of them.
#pragma once

class FaultyEngine {
public:
    static constexpr int64_t kRows = AdcEngine::kRows, kColumns = AdcEngine::kColumns;

    FaultyEngine(const BinaryConv& conv, const BorderClasses& borders, const Panels& panels, const FaultyPlan& faults)
        : conv_(conv),
          f_(faults),
          panels_(panels),
          arrays_(conv.layout.arrays()),
          array_words_(conv.layout.array_words()),
          row_words_(conv.layout.row_words()),
          // sum = bound * valid rows - 2 * (mismatches - those of padded bits)
          starts_(conv, borders, panels, arrays_, 2, [&](int32_t border, int64_t array) {
              return conv.product_bound() * borders.valid_rows(border, array);
          }) {}

    // The engine for images of these numbers.
    class Numbered {
    public:
        static constexpr int64_t kRows = FaultyEngine::kRows, kColumns = FaultyEngine::kColumns;
        Numbered(const FaultyEngine& engine, const int64_t* numbers) : engine_(engine), numbers_(numbers) {}
        void prepare(const RowBlock&, unsigned char*) const {}
        void tile(const RowBlock& rows, const unsigned char*, int64_t group, int64_t panel, int32_t* out) const {
            engine_.tile(rows, numbers_, group, panel, out);
        }

    private:
        const FaultyEngine& engine_;
        const int64_t* numbers_;
    };

    Numbered of(const int64_t* numbers) const { return {*this, numbers}; }
    int64_t scratch_bytes() const { return 0; }
    Gates take_gates() const { return {}; }
    Hits take_hits() const { return hits_.take(); }

private:
    using V = Lanes::Vector;
    static constexpr int kVectors = AdcEngine::kVectors;

    void tile(const RowBlock& rows, const int64_t* numbers, int64_t group, int64_t panel, int32_t* out) const {
        const uint64_t* weights = panels_.panel(group, panel);
        const int64_t pixels = conv_.geometry.out_pixels();
        const auto output = static_cast<uint32_t>(panel * kColumns);
        const int64_t left = conv_.geometry.out_channels - panel * kColumns,
                      outputs = left < kColumns ? left : kColumns;
        alignas(64) int32_t sums[kColumns], codes[kColumns];
        Hits found;
        for (int r = 0; r < rows.count; ++r) {
            const int64_t image = (rows.first_pixel + r) / pixels, pixel = (rows.first_pixel + r) % pixels;
            const auto number = static_cast<uint32_t>(numbers[image]);
            const uint32_t noise = counter_step(f_.noise_state, number),
                           hits = counter_step(f_.bit_faults.state, number);
            const uint64_t* starts = starts_.of(rows.border_class[r], group, panel);
            int32_t* total = out + r * kColumns;
            for (int64_t j = 0; j < kColumns; ++j) total[j] = 0;
            for (int64_t array = 0; array < arrays_; ++array) {
                const auto place = static_cast<uint32_t>(pixel * arrays_ + array);
                const int64_t at = array * f_.padded_outputs + panel * kColumns;
                sum_up(rows.words + r * row_words_ + array * array_words_, weights + array * array_words_ * kColumns,
                       starts + array * kColumns, sums);
                convert(sums, at, counter_step(noise, place), output, codes);
                if (f_.bit_faults.below) found += hit_bits(counter_step(hits, place), output, outputs, codes);
                if (f_.stuck)
                    for (int64_t j = 0; j < kColumns; ++j)
                        codes[j] = f_.stuck[at + j] < 0 ? codes[j] : f_.stuck[at + j];
                for (int64_t j = 0; j < kColumns; ++j) total[j] += f_.levels[codes[j]];
            }
        }
        if (f_.bit_faults.below) hits_.add(found);
    }

    // Partial sums of one array of one patch.
    void sum_up(const uint64_t* x, const uint64_t* w, const uint64_t* starts, int32_t* sums) const {
        V counts[kVectors];
        for (int j = 0; j < kVectors; ++j) counts[j] = Lanes::zero();
        for (int p = 0; p < conv_.x_planes; ++p)
            for (int q = 0; q < conv_.w_planes; ++q) {
                const uint64_t* const from = x + p * kRows * row_words_;
                const uint64_t* const column = w + q * panels_.plane_stride();
                V plane[kVectors];
                for (int j = 0; j < kVectors; ++j) plane[j] = Lanes::zero();
                for (int64_t word = 0; word < array_words_; ++word) {
                    const V a = Lanes::broadcast(from[word]);
#pragma GCC unroll 4
                    for (int j = 0; j < kVectors; ++j)
                        plane[j] = Lanes::add(
                            plane[j], Lanes::differing(a, Lanes::load(column + word * kColumns + j * Lanes::kLanes)));
                }
                // Mismatches count twice.
                const int shift = 1 + conv_.x_shift(p) + conv_.w_shift(q);
                for (int j = 0; j < kVectors; ++j)
                    counts[j] = Lanes::add(counts[j], Lanes::shift_left(plane[j], shift));
            }
        for (int j = 0; j < kVectors; ++j)
            Lanes::store_int32(sums + j * Lanes::kLanes,
                               Lanes::sub(Lanes::load(starts + j * Lanes::kLanes), counts[j]));
    }

    void convert(const int32_t* sums, int64_t at, uint32_t noise, uint32_t output, int32_t* codes) const {
        alignas(64) int64_t v[kColumns];
        if (f_.gain)
            for (int64_t j = 0; j < kColumns; ++j) v[j] = static_cast<int64_t>(sums[j]) * f_.gain[at + j];
        else
            for (int64_t j = 0; j < kColumns; ++j) v[j] = static_cast<int64_t>(sums[j]) * (1 << kFractionBits);
        if (f_.offset)
            for (int64_t j = 0; j < kColumns; ++j) v[j] += f_.offset[at + j];
        if (f_.noise)
            for (int64_t j = 0; j < kColumns; ++j)
                v[j] += f_.noise[counter_step(noise, output + static_cast<uint32_t>(j)) >> 20];
        for (int64_t j = 0; j < kColumns; ++j) codes[j] = 0;
        for (int t = 0; t + 1 < f_.level_count; ++t) {
            const int64_t threshold = f_.thresholds[t];
            for (int64_t j = 0; j < kColumns; ++j) codes[j] += v[j] >= threshold;
        }
    }

    Hits hit_bits(uint32_t state, uint32_t output, int64_t outputs, int32_t* codes) const {
        const auto last = static_cast<uint32_t>(f_.bit_faults.below - 1), bits = static_cast<uint32_t>(f_.bits);
        Hits found;
        for (uint32_t b = 0; b < bits; ++b) {
            if (f_.bit_faults.bit >= 0 && static_cast<int>(b) != f_.bit_faults.bit) continue;
            int32_t faulty = 0, wrong = 0;
            for (uint32_t j = 0; j < kColumns; ++j) {
                const uint32_t h = counter_step(state, (output + j) * bits + b);
                const uint32_t code = static_cast<uint32_t>(codes[j]), hit = h <= last ? 1u << b : 0;
                uint32_t after = code ^ hit;
                if (f_.bit_faults.kind == BitKind::random)
                    after = (code & ~hit) | (((counter_step(h, 1u) & 1) << b) & hit);
                codes[j] = static_cast<int32_t>(after);
                faulty += j < outputs && hit;
                wrong += j < outputs && after != code;
            }
            found += {outputs, faulty, wrong};
        }
        for (int64_t j = 0; j < kColumns; ++j) codes[j] = codes[j] < f_.level_count ? codes[j] : f_.level_count - 1;
        return found;
    }

    const BinaryConv& conv_;
    const FaultyPlan& f_;
    const Panels& panels_;
    const int64_t arrays_, array_words_, row_words_;
    BorderTable starts_;
    const HitCounter hits_;
};
