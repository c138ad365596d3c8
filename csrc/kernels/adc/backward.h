// The backward pass of adc, shared by the instruction sets. Included inside an instruction-set region after Lanes, blocks.h,
// kFloats (floats per vector) and kProductRows.
//
// Blocks of output pixels: per array, recompute the partial sums from bits, turn them into g = gy * slope, expand the bits of
// that array to floats, and multiply twice: gx patch = g W, gw += g^T X. Only one array's g exists at a time, so memory
// does not depend on their number. Images are split into a fixed number of parts, each with its own gw, added in order at the
// end: the result depends neither on the number of threads nor on their timing.

namespace bnnkit {
namespace {

constexpr int64_t kBlock = 64;      // output pixels per block
constexpr int64_t kMaxParts = 8;
constexpr int64_t kPartBytes = int64_t{64} << 20;  // all parts' gw together, unless two parts need more

typedef float Floats __attribute__((vector_size(kFloats * 4), aligned(4)));

// c[rows][columns] (+)= a[rows][depth] * b[depth][columns]; columns is a multiple of kProductVectors * kFloats.
struct Product {
    const float* a;
    int64_t a_row, a_depth;
    const float* b;
    int64_t b_row;
    float* c;
    int64_t c_row;
    int64_t rows, depth, columns;
    bool accumulate;
};

template <int MR>
inline void product_rows(const Product& p, int64_t row, int64_t column) {
    Floats sum[MR][kProductVectors];
    float* c = p.c + row * p.c_row + column;
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < kProductVectors; ++j)
            sum[i][j] = p.accumulate ? *reinterpret_cast<Floats*>(c + i * p.c_row + j * kFloats) : Floats{};
    const float *a = p.a + row * p.a_row, *b = p.b + column;
    for (int64_t d = 0; d < p.depth; ++d, a += p.a_depth, b += p.b_row) {
        Floats w[kProductVectors];
        for (int j = 0; j < kProductVectors; ++j) w[j] = *reinterpret_cast<const Floats*>(b + j * kFloats);
        for (int i = 0; i < MR; ++i) {
            const Floats x = Floats{} + a[i * p.a_row];
            for (int j = 0; j < kProductVectors; ++j) sum[i][j] = multiply_add(x, w[j], sum[i][j]);
        }
    }
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < kProductVectors; ++j) *reinterpret_cast<Floats*>(c + i * p.c_row + j * kFloats) = sum[i][j];
}

inline void multiply(const Product& p) {
    for (int64_t column = 0; column < p.columns; column += kProductVectors * kFloats) {
        int64_t row = 0;
        for (; row + kProductRows <= p.rows; row += kProductRows) product_rows<kProductRows>(p, row, column);
        for (; row < p.rows; ++row) product_rows<1>(p, row, column);
    }
}

// 64 floats of one row: the integer values of a word of the planes, times `unit`, 0 outside `valid`.
inline void expand_word(const uint64_t* words, int64_t plane_stride, int planes, bool thermometer, uint64_t valid, float unit,
                        float* out) {
    for (int i = 0; i < kWordBits; ++i) {
        int value = 0;
        for (int p = 0; p < planes; ++p) {
            const int sign = static_cast<int>((words[p * plane_stride] >> i) & 1) * 2 - 1;
            value += thermometer ? sign : sign * (1 << p);
        }
        out[i] = (valid >> i) & 1 ? unit * static_cast<float>(value) : 0.0f;
    }
}

class Backward {
public:
    Backward(const AdcBackwardArgs& args, const BorderClasses& borders, const Panels& panels)
        : args_(args),
          conv_(args.conv),
          g_(args.conv.geometry),
          layout_(args.conv.layout),
          borders_(borders),
          panels_(panels),
          gatherer_(g_, layout_),
          row_words_(layout_.row_words()),
          row_floats_(row_words_ * kWordBits),
          array_floats_(layout_.array_words() * kWordBits),
          padded_outputs_(panels.per_group() * panels.columns()),
          weights_(g_.out_channels * row_floats_ * kFloatBytes),
          nhwc_(g_.batch * g_.height * g_.width * g_.channels * kFloatBytes) {}

    void run() {
        const int64_t part_bytes = g_.out_channels * row_floats_ * kFloatBytes;
        int64_t parts = kPartBytes / part_bytes;
        const int64_t blocks = ceil_div(g_.batch * g_.out_pixels(), kBlock);
        parts = parts < 2 ? 2 : parts > kMaxParts ? kMaxParts : parts;
        parts = parts < blocks ? parts : blocks;
        parts = parts < g_.batch ? parts : g_.batch;
        Scratch gw(parts * part_bytes);
        memset(gw.data, 0, static_cast<size_t>(parts * part_bytes));
        memset(nhwc_.data, 0, static_cast<size_t>(g_.batch * g_.height * g_.width * g_.channels * kFloatBytes));
        parallel_for(conv_.threads, g_.out_channels, [&](int64_t begin, int64_t end) { expand_weights(begin, end); });
        parallel_for(conv_.threads, parts, [&](int64_t begin, int64_t end) {
            for (int64_t part = begin; part < end; ++part)
                images(g_.batch * part / parts, g_.batch * (part + 1) / parts,
                       reinterpret_cast<float*>(gw.data) + part * g_.out_channels * row_floats_);
        });
        parallel_for(conv_.threads, g_.out_channels, [&](int64_t begin, int64_t end) {
            for (int64_t output = begin; output < end; ++output)
                reduce_weights(reinterpret_cast<const float*>(gw.data), parts, output);
        });
        parallel_for(conv_.threads, g_.batch, [&](int64_t begin, int64_t end) {
            for (int64_t image = begin; image < end; ++image) to_nchw(image);
        });
    }

private:
    static constexpr int64_t kFloatBytes = sizeof(float);

    struct Room {  // one thread's working memory
        explicit Room(const Backward& b)
            : words((b.conv_.x_planes * kBlock * b.row_words_ + kGatherSlack) * 8),
              gy(kBlock * b.padded_outputs_ * kFloatBytes),
              g(kBlock * b.padded_outputs_ * kFloatBytes),
              counts(kBlock * b.padded_outputs_ * 4),
              x(kBlock * b.array_floats_ * kFloatBytes),
              gx(kBlock * b.array_floats_ * kFloatBytes) {}
        Scratch words, gy, g, counts, x, gx;
        int32_t border_class[kBlock];
    };

    static float* floats(const Scratch& s) { return reinterpret_cast<float*>(s.data); }

    void expand_weights(int64_t begin, int64_t end) {
        for (int64_t output = begin; output < end; ++output)
            for (int64_t word = 0; word < row_words_; ++word)
                expand_word(conv_.w + output * row_words_ + word, conv_.w_plane_words(), conv_.w_planes,
                            conv_.w_thermometer, borders_.mask(0)[word], args_.w_unit,
                            floats(weights_) + output * row_floats_ + word * kWordBits);
    }

    void images(int64_t first_image, int64_t last_image, float* gw) const {
        Room room(*this);
        const int64_t last = last_image * g_.out_pixels();
        for (int64_t first = first_image * g_.out_pixels(); first < last; first += kBlock) {
            const int64_t count = last - first < kBlock ? last - first : kBlock;
            for (int64_t group = 0; group < g_.groups; ++group) block(room, group, first, count, gw);
        }
    }

    void block(Room& room, int64_t group, int64_t first, int64_t count, float* gw) const {
        uint64_t* words = reinterpret_cast<uint64_t*>(room.words.data);
        for (int p = 0; p < conv_.x_planes; ++p) {
            const uint64_t* plane = conv_.x + p * conv_.x_plane_words();
            gatherer_.gather(plane + group * layout_.pixel_words(), conv_.x_pixel_words(), plane + conv_.x_plane_words() - 1,
                             first, count, words + p * kBlock * row_words_);
        }
        for (int64_t r = 0; r < count; ++r) {
            const int64_t pixel = (first + r) % g_.out_pixels();
            room.border_class[r] = borders_.of_pixel(pixel / g_.out_width(), pixel % g_.out_width());
        }
        read_gy(floats(room.gy), group, first, count);
        for (int64_t array = 0; array < layout_.arrays(); ++array) {
            one_array_gradient(room, group, array, count);
            for (int64_t r = 0; r < count; ++r)
                for (int64_t word = 0; word < layout_.array_words(); ++word) {
                    const int64_t at = array * layout_.array_words() + word;
                    expand_word(words + r * row_words_ + at, kBlock * row_words_, conv_.x_planes, conv_.x_thermometer,
                                borders_.mask(room.border_class[r])[at], args_.x_unit,
                                floats(room.x) + r * array_floats_ + word * kWordBits);
                }
            const int64_t outputs = g_.group_outputs(), offset = group * outputs * row_floats_ + array * array_floats_;
            multiply({floats(room.g), padded_outputs_, 1, floats(weights_) + offset, row_floats_, floats(room.gx),
                      array_floats_, count, outputs, array_floats_, false});
            multiply({floats(room.g), 1, padded_outputs_, floats(room.x), array_floats_, gw + offset, row_floats_, outputs,
                      count, array_floats_, true});
            scatter(room, group, array, first, count);
        }
    }

    void read_gy(float* out, int64_t group, int64_t first, int64_t count) const {
        const int64_t outputs = g_.group_outputs(), pixels = g_.out_pixels();
        memset(out, 0, static_cast<size_t>(kBlock * padded_outputs_ * kFloatBytes));
        for (int64_t r = 0; r < count;) {
            const int64_t image = (first + r) / pixels, pixel = (first + r) % pixels;
            const int64_t run = count - r < pixels - pixel ? count - r : pixels - pixel;
            const float* gy = args_.gy + (image * g_.out_channels + group * outputs) * pixels + pixel;
            for (int64_t o = 0; o < outputs; ++o)
                for (int64_t i = 0; i < run; ++i) out[(r + i) * padded_outputs_ + o] = gy[o * pixels + i];
            r += run;
        }
    }

    // g[r][o] = gy[r][o] * slope(partial sum of `array`).
    void one_array_gradient(Room& room, int64_t group, int64_t array, int64_t count) const {
        float* g = floats(room.g);
        const float* gy = floats(room.gy);
        if (!args_.slopes) {
            memcpy(g, gy, static_cast<size_t>(count * padded_outputs_ * kFloatBytes));
            return;
        }
        int32_t* counts = reinterpret_cast<int32_t*>(room.counts.data);
        for (int64_t panel = 0; panel < panels_.per_group(); ++panel)
            for (int64_t r = 0; r < count; ++r) count_mismatches(room, panels_.panel(group, panel), array, r, panel, counts);
        for (int64_t r = 0; r < count; ++r) {
            const int64_t valid = borders_.valid_rows(room.border_class[r], array);
            const float* slopes = args_.slopes + args_.slope_bound + conv_.product_bound() * valid;
            for (int64_t o = r * padded_outputs_; o < (r + 1) * padded_outputs_; ++o) g[o] = gy[o] * slopes[-2 * counts[o]];
        }
    }

    void count_mismatches(const Room& room, const uint64_t* weights, int64_t array, int64_t r, int64_t panel,
                          int32_t* counts) const {
        using V = Lanes::Vector;
        const int64_t words = layout_.array_words();
        const uint64_t* x = reinterpret_cast<const uint64_t*>(room.words.data) + r * row_words_ + array * words;
        const uint64_t* mask = borders_.mask(room.border_class[r]) + array * words;
        V sum[kCountVectors];
        for (V& v : sum) v = Lanes::zero();
        for (int p = 0; p < conv_.x_planes; ++p) {
            for (int q = 0; q < conv_.w_planes; ++q) {
                const int shift = conv_.x_shift(p) + conv_.w_shift(q);
                const uint64_t* w = weights + q * panels_.plane_stride() + array * words * kCountVectors * Lanes::kLanes;
                for (int64_t word = 0; word < words; ++word) {
                    const V a = Lanes::broadcast(x[p * kBlock * row_words_ + word]), m = Lanes::broadcast(mask[word]);
                    for (int j = 0; j < kCountVectors; ++j, w += Lanes::kLanes)
                        sum[j] = Lanes::add(sum[j], Lanes::shift_left(Lanes::differing(a, Lanes::load(w), m), shift));
                }
            }
        }
        for (int j = 0; j < kCountVectors; ++j)
            Lanes::store_int32(counts + r * padded_outputs_ + (panel * kCountVectors + j) * Lanes::kLanes, sum[j]);
    }

    // Adds a block's patch gradients to the pixels they were gathered from, channels contiguous.
    void scatter(const Room& room, int64_t group, int64_t array, int64_t first, int64_t count) const {
        const int64_t chunk = layout_.tap ? array % layout_.chunks() : array, channels = layout_.chunk_channels(chunk);
        const int64_t first_tap = layout_.tap ? array / layout_.chunks() : 0, taps = layout_.tap ? 1 : layout_.taps;
        float* base = floats(nhwc_) + group * g_.group_channels() + chunk * layout_.channels_per_array;
        for (int64_t r = 0; r < count; ++r) {
            const int64_t image = (first + r) / g_.out_pixels(), pixel = (first + r) % g_.out_pixels();
            const int64_t y0 = pixel / g_.out_width() * g_.stride_h - g_.pad_h;
            const int64_t x0 = pixel % g_.out_width() * g_.stride_w - g_.pad_w;
            const float* from = floats(room.gx) + r * array_floats_;
            for (int64_t t = 0; t < taps; ++t, from += layout_.channels_per_array) {
                const int64_t y = y0 + (first_tap + t) / g_.kernel_w * g_.dilation_h;
                const int64_t x = x0 + (first_tap + t) % g_.kernel_w * g_.dilation_w;
                if (y < 0 || y >= g_.height || x < 0 || x >= g_.width) continue;
                float* to = base + ((image * g_.height + y) * g_.width + x) * g_.channels;
                for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
            }
        }
    }

    void reduce_weights(const float* gw, int64_t parts, int64_t output) const {
        const int64_t channels = g_.group_channels(), taps = layout_.taps, part = g_.out_channels * row_floats_;
        float* out = args_.gw + output * channels * taps;
        for (int64_t c = 0; c < channels; ++c) {
            const int64_t chunk = c / layout_.channels_per_array, within = c % layout_.channels_per_array;
            for (int64_t tap = 0; tap < taps; ++tap) {
                const int64_t array = layout_.tap ? tap * layout_.chunks() + chunk : chunk;
                const int64_t at = output * row_floats_ + array * array_floats_ + within +
                                   (layout_.tap ? 0 : tap * layout_.channels_per_array);
                float sum = 0;
                for (int64_t p = 0; p < parts; ++p) sum += gw[p * part + at];
                out[c * taps + tap] = sum;
            }
        }
    }

    void to_nchw(int64_t image) const {
        const int64_t pixels = g_.height * g_.width;
        const float* from = floats(nhwc_) + image * pixels * g_.channels;
        float* to = args_.gx + image * pixels * g_.channels;
        constexpr int64_t kSide = 32;  // both sides of a square stay in the nearest cache
        for (int64_t c0 = 0; c0 < g_.channels; c0 += kSide)
            for (int64_t p0 = 0; p0 < pixels; p0 += kSide)
                for (int64_t c = c0; c < c0 + kSide && c < g_.channels; ++c)
                    for (int64_t p = p0; p < p0 + kSide && p < pixels; ++p) to[c * pixels + p] = from[p * g_.channels + c];
    }

    const AdcBackwardArgs& args_;
    const BinaryConv& conv_;
    const ConvGeometry& g_;
    const ArrayLayout& layout_;
    const BorderClasses& borders_;
    const Panels& panels_;
    Gatherer gatherer_;
    int64_t row_words_, row_floats_, array_floats_, padded_outputs_;
    Scratch weights_;  // [out_channels][row_floats]
    Scratch nhwc_;     // gx with channels contiguous
};

inline void backward_in_blocks(const AdcBackwardArgs& args) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const Panels panels(args.conv, kCountVectors * Lanes::kLanes);
    Backward(args, borders, panels).run();
}

}  // namespace
}  // namespace bnnkit
