#include "rounding.h"

#include "array_layer.h"

namespace bnn {
namespace {

// Sizes of a layer, computed once.
struct Sizes {
    explicit Sizes(const ArrayLayer& l)
        : in(l.read()),
          chunks(l.chunks()),
          chunk_words(l.chunk_words()),
          pixel_words(l.pixel_words()),
          arrays(l.arrays()),
          array_words(l.array_words()),
          row_words(l.row_words()) {}
    const Shape in;
    const int chunks, chunk_words, pixel_words, arrays, array_words, row_words;
};

// The bits a layer reads, with each chunk of channels in words of its own: [planes][pixels][chunk_words][chunks].
class Chunks {
public:
    Chunks(const ArrayLayer& layer, uint64_t* scratch)
        : l_(layer), s_(layer), words_(scratch), all_(scratch + copied()), flat_(all_ + s_.pixel_words) {
        for (int i = 0; i < s_.pixel_words; ++i) {
            const int chunk = i % s_.chunks, word = i / s_.chunks;
            const int left = s_.in.channels - chunk * l_.channels_per_array;
            const int channels = left < l_.channels_per_array ? left : l_.channels_per_array;
            const int bits = channels - word * kWordBits;
            all_[i] = bits > 0 ? low_bits(bits) : 0;
        }
    }

    uint64_t* end() const { return flat_ + (l_.flatten ? s_.in.words() : 0); }

    void read(const uint64_t* x) {
        if (l_.reads_in_place()) {
            from_ = x;
            return;
        }
        from_ = words_;
        uint64_t* to = words_;
        for (int plane = 0; plane < l_.x_planes; ++plane) {
            const uint64_t* pixel = x + plane * l_.in.pixels() * l_.in.words();
            if (l_.flatten) {
                flatten(pixel);
                pixel = flat_;
            }
            for (int p = 0; p < s_.in.pixels(); ++p, pixel += s_.in.words(), to += s_.pixel_words) cut(pixel, to);
        }
    }

    const uint64_t* plane(int p) const { return from_ + p * s_.in.pixels() * s_.pixel_words; }
    const uint64_t* all() const { return all_; }  // of one pixel: the bits that hold a value

private:
    int copied() const { return l_.reads_in_place() ? 0 : l_.x_planes * s_.in.pixels() * s_.pixel_words; }

    void flatten(const uint64_t* x) {
        const int pixels = l_.in.pixels(), words = l_.in.words();
        for (int i = 0; i < s_.in.words(); ++i) flat_[i] = 0;
        for (int c = 0, at = 0; c < l_.in.channels; ++c)
            for (int pixel = 0; pixel < pixels; ++pixel, ++at) {
                const uint64_t bit = x[pixel * words + c / kWordBits] >> (c % kWordBits) & 1;
                flat_[at / kWordBits] |= bit << (at % kWordBits);
            }
    }

    void cut(const uint64_t* pixel, uint64_t* to) const {
        const int last = s_.in.words() - 1, chunks = s_.chunks;
        for (int i = 0; i < s_.pixel_words; ++i) {
            const int bit = i % chunks * l_.channels_per_array + i / chunks * kWordBits;
            const int word = bit / kWordBits, shift = bit % kWordBits;
            uint64_t bits = word <= last ? pixel[word] >> shift : 0;
            if (shift && word < last) bits |= pixel[word + 1] << (kWordBits - shift);
            to[i] = bits & all_[i];
        }
    }

    const ArrayLayer& l_;
    const Sizes s_;
    uint64_t *const words_, *const all_, *const flat_;
    const uint64_t* from_ = nullptr;
};

// What a kernel covers at one output pixel, in the order of its weights: [planes][array_words][arrays].
class Patch {
public:
    Patch(const ArrayLayer& layer, const Chunks& x, uint64_t* words, int32_t* valid)
        : l_(layer),
          s_(layer),
          x_(x),
          words_(words),
          mask_(words + layer.x_planes * layer.row_words()),
          valid_(valid) {}

    void gather(int row, int column) {
        const Kernel& k = l_.kernel;
        const int y = row * k.stride_h - k.pad_h, x = column * k.stride_w - k.pad_w;
        const bool inside = y >= 0 && x >= 0 && y + k.height <= s_.in.height && x + k.width <= s_.in.width;
        for (int plane = 0; plane < l_.x_planes; ++plane)
            copy(x_.plane(plane), s_.pixel_words, y, x, words_ + plane * s_.row_words);
        if (!inside || !counted_) count_valid(y, x);
        counted_ = inside;
        is_border_ = !inside;
    }

    const Sizes& sizes() const { return s_; }
    const uint64_t* plane(int p) const { return words_ + p * s_.row_words; }
    const uint64_t* mask() const { return is_border_ ? mask_ : nullptr; }  // of taps inside the image; null: all are
    const int32_t* valid() const { return valid_; }                        // rows of each array that are inside

private:
    // A pixel's chunks go where its tap has its rows.
    void copy(const uint64_t* pixels, int pixel_words, int y, int x, uint64_t* to) const {
        for (int i = 0; i < s_.row_words; ++i) to[i] = 0;
        for (int ky = 0, tap = 0; ky < l_.kernel.height; ++ky)
            for (int kx = 0; kx < l_.kernel.width; ++kx, ++tap) {
                const int py = y + ky, px = x + kx;
                if (py < 0 || px < 0 || py >= s_.in.height || px >= s_.in.width) continue;
                const uint64_t* from = pixels + (py * s_.in.width + px) * pixel_words;
                if (l_.tap)
                    copy_tap(from, 0, to + tap * s_.chunks);
                else
                    copy_tap(from, tap * l_.channels_per_array, to);
            }
    }

    // Chunks of one pixel go to the same bit of an array each.
    void copy_tap(const uint64_t* from, int bit, uint64_t* to) const {
        const int chunks = s_.chunks, shift = bit % kWordBits;
        for (int word = 0, at = bit / kWordBits; word < s_.chunk_words; ++word, ++at, from += chunks) {
            uint64_t* low = to + at * s_.arrays;
            for (int chunk = 0; chunk < chunks; ++chunk) low[chunk] |= from[chunk] << shift;
            if (shift == 0 || at + 1 == s_.array_words) continue;
            uint64_t* high = low + s_.arrays;
            for (int chunk = 0; chunk < chunks; ++chunk) high[chunk] |= from[chunk] >> (kWordBits - shift);
        }
    }

    void count_valid(int y, int x) {
        copy(x_.all(), 0, y, x, mask_);
        for (int array = 0; array < s_.arrays; ++array) {
            valid_[array] = 0;
            for (int word = 0; word < s_.array_words; ++word)
                valid_[array] += popcount(mask_[word * s_.arrays + array]);
        }
    }

    const ArrayLayer& l_;
    const Sizes s_;
    const Chunks& x_;
    uint64_t *const words_, *const mask_;
    int32_t* const valid_;
    bool counted_ = false, is_border_ = false;
};

// Adds the products of -1 of kWords words with the same words of kLanes outputs, times 2^shift.
template <int kWords, bool kBorder>
void count(const uint64_t* x, const uint64_t* mask, int step, const uint64_t* __restrict w, int shift,
           int64_t* __restrict counts) {
    uint64_t words[kWords], inside[kWords];
    for (int i = 0; i < kWords; ++i) {
        words[i] = x[i * step];
        inside[i] = kBorder ? mask[i * step] : 0;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
        int64_t n = 0;
        for (int i = 0; i < kWords; ++i) {
            const uint64_t differing = words[i] ^ w[i * kLanes + lane];
            n += popcount(kBorder ? differing & inside[i] : differing);
        }
        counts[lane] += n << shift;
    }
}

template <bool kBorder>
void count_all(const uint64_t* x, const uint64_t* mask, int step, int words, const uint64_t* w, int shift,
               int64_t* counts) {
    for (; words > 0; words -= 4, x += 4 * step, mask += kBorder ? 4 * step : 0, w += 4 * kLanes) {
        if (words == 1) return count<1, kBorder>(x, mask, step, w, shift, counts);
        if (words == 2) return count<2, kBorder>(x, mask, step, w, shift, counts);
        if (words == 3) return count<3, kBorder>(x, mask, step, w, shift, counts);
        count<4, kBorder>(x, mask, step, w, shift, counts);
    }
}

// Adds `step` where a count is at most `limit`.
BNN_OWN_LOOP void add_step(const int64_t* __restrict counts, int64_t limit, int64_t step, int64_t* __restrict sums) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += counts[lane] <= limit ? step : 0;
}

// Adds the levels of an array's partial sums, which are `most` - 2 * count, without the lowest level: sum >= t is
// count <= (most - t) / 2, rounded down.
void convert(const ArrayLayer& l, int64_t most, const int64_t* __restrict counts, int64_t* __restrict sums) {
    if (!l.threshold_count) {
        for (int lane = 0; lane < kLanes; ++lane) sums[lane] += most - 2 * counts[lane];
        return;
    }
    for (int t = 0; t < l.threshold_count; ++t)
        add_step(counts, (most - l.thresholds[t]) >> 1, l.levels[t + 1] - l.levels[t], sums);
}

// The sums of kLanes outputs over `planes` planes of activations.
void sum_lanes(const ArrayLayer& l, const Patch& patch, int first_plane, int planes, const uint64_t* weights,
               int64_t* sums) {
    const int arrays = patch.sizes().arrays, words = patch.sizes().array_words;
    const auto weight_of = [](int planes, bool thermometer) { return thermometer ? planes : (1 << planes) - 1; };
    const int unit = weight_of(planes, l.x_thermometer) * weight_of(l.w_planes, l.w_thermometer);
    const int64_t start = l.threshold_count ? int64_t{arrays} * l.levels[0] : 0;
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] = start;
    for (int array = 0; array < arrays; ++array) {
        int64_t counts[kLanes] = {};
        for (int p = 0; p < planes; ++p) {
            const uint64_t *x = patch.plane(first_plane + p) + array, *mask = patch.mask();
            for (int q = 0; q < l.w_planes; ++q) {
                const uint64_t* w = weights + (q * arrays + array) * words * kLanes;
                const int shift = (l.x_thermometer ? 0 : p) + (l.w_thermometer ? 0 : q);
                mask ? count_all<true>(x, mask + array, arrays, words, w, shift, counts)
                     : count_all<false>(x, nullptr, arrays, words, w, shift, counts);
            }
        }
        convert(l, int64_t{unit} * patch.valid()[array], counts, sums);
    }
}

void sum_pixel(const ArrayLayer& l, const Patch& patch, int32_t* to) {
    const uint64_t* weights = l.weights;
    const int step = l.w_planes * patch.sizes().row_words * kLanes;
    for (int first = 0; first < l.outputs; first += kLanes, weights += step) {
        int64_t sums[kLanes];
        if (!l.gate) {
            sum_lanes(l, patch, 0, l.x_planes, weights, sums);
            for (int lane = 0; lane < kLanes; ++lane) to[first + lane] = static_cast<int32_t>(sums[lane]);
            continue;
        }
        int64_t low[kLanes];
        sum_lanes(l, patch, 1, 1, weights, sums);
        sum_lanes(l, patch, 0, 1, weights, low);
        for (int lane = 0; lane < kLanes && first + lane < l.outputs; ++lane) {
            const bool open = sums[lane] >= l.gate[first + lane];
            to[first + lane] = static_cast<int32_t>(2 * sums[lane] + (open ? low[lane] : 0));
        }
    }
}

void scale_sums(const ArrayLayer& l, const int32_t* sums, float* v) {
    for (int c = 0; c < l.outputs; ++c) {
        const double value = l.scale * sums[c] + l.base;
        v[c] = static_cast<float>(l.bias ? value + l.bias[c] : value);
    }
}

}  // namespace

void run(const ArrayLayer& l, const uint64_t* x, const Finish& finish, const Output<float>& out, const Scratch& s) {
    int32_t* sums = s.integers;
    Chunks chunks(l, s.words);
    chunks.read(x);
    Patch patch(l, chunks, chunks.end(), s.integers + padded(l.outputs));
    const auto sum_at = [&](int row, int column) {
        patch.gather(row, column);
        sum_pixel(l, patch, sums);
    };
    for_each_pixel(finish.out, [&](int pixel, int row, int column) {
        if (finish.codes.sum_thresholds) {
            sum_at(row, column);
            return finish_sums(finish, sums, pixel, out);
        }
        const auto values_at = [&](int y, int x, float* v) {
            sum_at(y, x);
            scale_sums(l, sums, v);
        };
        finish_values(finish, pooled(finish, row, column, s.floats, values_at), pixel, out);
    });
}

void run(const ArrayLayer& l, const uint64_t* x, const IntegerFinish& finish, const Output<int32_t>& out,
         const Scratch& s) {
    Chunks chunks(l, s.words);
    chunks.read(x);
    Patch patch(l, chunks, chunks.end(), s.integers + padded(l.outputs));
    for_each_pixel(finish.out, [&](int pixel, int row, int column) {
        patch.gather(row, column);
        sum_pixel(l, patch, s.integers);
        shift_and_add(finish, s.integers);
        finish_integers(finish, s.integers, pixel, out);
    });
}

}  // namespace bnn
