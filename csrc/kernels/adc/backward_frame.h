// The backward pass of adc around its arithmetic. Included inside an instruction-set region after blocks.h.
//
// Blocks of output pixels: per array, `Products` recomputes the partial sums from bits, turns them into g = gy * slope and
// multiplies twice, gx patch = g W and gw += X^T g; the frame gathers the patches and adds gx patches to the pixels they came
// from. Only one array's g exists at a time, so memory does not depend on their number. Images are split into a fixed number of
// parts, each with its own gw, added in order at the end: the result depends neither on the number of threads nor on timing.
//
// A Products provides kRows (pixels per block), kPatchRows (of them, whose patches are made at a time), padded_outputs(),
// tap_stride(array) (columns from tap to tap of an array, whose channels lie side by side), gw_floats() and
// gw_at(output, array, column) (where the gradient of a weight lies), a Room constructed from it per thread, and, in integer
// units,
//   add_weight_gradient(room, block, group, array, gw)                   derives an array's g; arrays come in order
//   patch_gradient(room, block, group, array, first, count, patches)     then fills patches[count][array_bits]
#pragma once

#include "adc.h"

namespace bnnkit {
namespace {

// Parts are what threads share: more threads than parts wait. All parts' gw together, unless two need more, bound memory.
constexpr int64_t kMaxParts = 32;
constexpr int64_t kPartBytes = int64_t{32} << 20;
constexpr int64_t kFloatBytes = sizeof(float);
constexpr int64_t kSpilled = 16;  // floats that add_to may read and write back past what it adds to

inline float* floats(const Scratch& s) { return reinterpret_cast<float*>(s.data); }

// to[column][row] = factor * from[row][column]
inline void transpose_scaled(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t rows,
                             int64_t columns, float factor) {
    constexpr int64_t kSide = 16;
    for (int64_t r = 0; r < rows; r += kSide) {
        for (int64_t c = 0; c < columns; c += kSide) {
            const float* block = from + r * from_stride + c;
            float* transposed = to + c * to_stride + r;
            if (kTransposed == kSide && r + kSide <= rows && c + kSide <= columns) {
                Ints16 lines[kTransposed];
                for (int64_t i = 0; i < kTransposed; ++i) lines[i] = wide_at<Ints16>(block + i * from_stride);
                transpose(lines);
                for (int64_t i = 0; i < kTransposed; ++i)
                    store_wide(transposed + i * to_stride, as<Floats16>(lines[i]) * factor);
                continue;
            }
            for (int64_t j = 0; j < kSide && c + j < columns; ++j)
                for (int64_t i = 0; i < kSide && r + i < rows; ++i)
                    transposed[j * to_stride + i] = block[i * from_stride + j] * factor;
        }
    }
}

// What a block of output pixels brings along: its patches, border classes, and gy[kRows][padded outputs] of the group.
struct GradientBlock {
    RowBlock rows;
    const float* gy;
};

template <class Products>
class Backward {
public:
    Backward(const AdcBackwardArgs& args, const BorderClasses& borders, const Products& products)
        : args_(args),
          conv_(args.conv),
          g_(args.conv.geometry),
          layout_(args.conv.layout),
          borders_(borders),
          products_(products),
          gatherer_(g_, layout_),
          row_words_(layout_.row_words()),
          array_bits_(layout_.array_words() * kWordBits),
          image_floats_(g_.height * g_.width * g_.channels + kSpilled),
          block_images_(images_of_block(g_)) {}

    void run() {
        const int64_t part_bytes = products_.gw_floats() * kFloatBytes;
        int64_t parts = kPartBytes / part_bytes;
        const int64_t blocks = ceil_div(g_.batch * g_.out_pixels(), kRows);
        parts = parts < 2 ? 2 : parts > kMaxParts ? kMaxParts : parts;
        parts = parts < blocks ? parts : blocks;
        parts = parts < g_.batch ? parts : g_.batch;
        Scratch gw(parts * part_bytes);
        memset(gw.data, 0, static_cast<size_t>(parts * part_bytes));
        parallel_for(conv_.threads, parts, [&](int64_t begin, int64_t end) {
            for (int64_t part = begin; part < end; ++part)
                images(g_.batch * part / parts, g_.batch * (part + 1) / parts,
                       floats(gw) + part * products_.gw_floats());
        });
        parallel_for(conv_.threads, ceil_div(g_.out_channels, kReduced), [&](int64_t begin, int64_t end) {
            for (int64_t block = begin; block < end; ++block) reduce_weights(floats(gw), parts, block * kReduced);
        });
    }

private:
    static constexpr int64_t kRows = Products::kRows, kPatchRows = Products::kPatchRows, kReduced = 16;

    struct Origin {  // where a patch begins among the block's images, maybe outside, and whether all of it is inside
        int64_t first, y, x;
        bool inside;
    };

    struct Room {  // one thread's working memory
        explicit Room(const Backward& b)
            : words((b.conv_.x_planes * kRows * b.row_words_ + kGatherSlack) * 8),
              gy(kRows * b.products_.padded_outputs() * kFloatBytes),
              patches(kPatchRows * b.array_bits_ * kFloatBytes),
              nhwc(b.block_images_ * b.image_floats_ * kFloatBytes),
              products(b.products_) {
            memset(nhwc.data, 0, static_cast<size_t>(b.block_images_ * b.image_floats_ * kFloatBytes));
        }
        Scratch words, gy, patches;
        Scratch nhwc;  // gx with channels contiguous, of the images of a block, each until its last patch was added
        int32_t border_class[kRows];
        Origin origins[kRows];
        typename Products::Room products;
    };

    void images(int64_t first_image, int64_t last_image, float* gw) const {
        Room room(*this);
        const int64_t last = last_image * g_.out_pixels();
        int64_t image = first_image;
        for (int64_t first = first_image * g_.out_pixels(); first < last; first += kRows) {
            const int64_t count = last - first < kRows ? last - first : kRows;
            for (int64_t group = 0; group < g_.groups; ++group) block(room, group, first, count, gw);
            for (; (image + 1) * g_.out_pixels() <= first + count; ++image) finish_image(room, image);
        }
    }

    void block(Room& room, int64_t group, int64_t first, int64_t count, float* gw) const {
        uint64_t* words = reinterpret_cast<uint64_t*>(room.words.data);
        for (int p = 0; p < conv_.x_planes; ++p) {
            const uint64_t* plane = conv_.x + p * conv_.x_plane_words();
            gatherer_.gather(plane + group * layout_.pixel_words(), conv_.x_pixel_words(),
                             plane + conv_.x_plane_words() - 1, first, count, words + p * kRows * row_words_);
        }
        const int64_t out_w = g_.out_width(), out_h = g_.out_height();
        int64_t ox = first % out_w, oy = first / out_w % out_h, image = first / out_w / out_h;
        for (int64_t r = 0; r < count; ++r) {
            room.border_class[r] = borders_.of_pixel(oy, ox);
            const int64_t y = oy * g_.stride_h - g_.pad_h, x = ox * g_.stride_w - g_.pad_w;
            room.origins[r] = {place_of(image) + (y * g_.width + x) * g_.channels, y, x, gatherer_.inside(y, x)};
            if (++ox < out_w) continue;
            ox = 0;
            if (++oy == out_h) oy = 0, ++image;
        }
        read_gy(floats(room.gy), group, first, count);
        const GradientBlock block{{words, room.border_class, static_cast<int>(count), first}, floats(room.gy)};
        for (int64_t array = 0; array < layout_.arrays(); ++array) {
            products_.add_weight_gradient(room.products, block, group, array, gw);
            for (int64_t row = 0; row < count; row += kPatchRows) {
                const int64_t rows = count - row < kPatchRows ? count - row : kPatchRows;
                products_.patch_gradient(room.products, block, group, array, row, rows, floats(room.patches));
                scatter(room, group, array, room.origins + row, rows);
            }
        }
    }

    void read_gy(float* out, int64_t group, int64_t first, int64_t count) const {
        const int64_t outputs = g_.group_outputs(), pixels = g_.out_pixels(), padded = products_.padded_outputs();
        memset(out, 0, static_cast<size_t>(kRows * padded * kFloatBytes));
        for (int64_t r = 0; r < count;) {
            const int64_t image = (first + r) / pixels, pixel = (first + r) % pixels;
            const int64_t run = count - r < pixels - pixel ? count - r : pixels - pixel;
            const float* gy = args_.gy + (image * g_.out_channels + group * outputs) * pixels + pixel;
            transpose_scaled(gy, pixels, out + r * padded, padded, outputs, run, 1);
            r += run;
        }
    }

    // Adds a block's patch gradients to the pixels they were gathered from, channels contiguous. Tap by tap: neighbouring rows
    // share pixels under different taps, and an addition should not wait for the one before.
    void scatter(const Room& room, int64_t group, int64_t array, const Origin* origins, int64_t count) const {
        const int64_t chunk = layout_.tap ? array % layout_.chunks() : array, channels = layout_.chunk_channels(chunk);
        const int64_t first_tap = layout_.tap ? array / layout_.chunks() : 0, taps = layout_.tap ? 1 : layout_.taps;
        float* base = floats(room.nhwc) + group * g_.group_channels() + chunk * layout_.channels_per_array;
        for (int64_t t = 0; t < taps; ++t) {
            const int64_t y = (first_tap + t) / g_.kernel_w * g_.dilation_h;
            const int64_t x = (first_tap + t) % g_.kernel_w * g_.dilation_w;
            const float* from = floats(room.patches) + t * products_.tap_stride(array);
            float* to = base + (y * g_.width + x) * g_.channels;
            for (int64_t r = 0; r < count; ++r, from += array_bits_) {
                const Origin& at = origins[r];
                if (at.inside || (within(at.y + y, g_.height) && within(at.x + x, g_.width)))
                    add_to(to + at.first, from, channels);
            }
        }
    }

    static bool within(int64_t position, int64_t size) {
        return static_cast<uint64_t>(position) < static_cast<uint64_t>(size);
    }

    // Parts added in order, for a few outputs at a time: whichever of output and bit is contiguous, lines are read once.
    void reduce_weights(const float* gw, int64_t parts, int64_t first) const {
        const int64_t channels = g_.group_channels(), taps = layout_.taps, part = products_.gw_floats();
        const int64_t last = first + kReduced < g_.out_channels ? first + kReduced : g_.out_channels;
        for (int64_t c = 0; c < channels; ++c) {
            const int64_t chunk = c / layout_.channels_per_array, within = c % layout_.channels_per_array;
            for (int64_t tap = 0; tap < taps; ++tap) {
                const int64_t array = layout_.tap ? tap * layout_.chunks() + chunk : chunk;
                const int64_t column = within + (layout_.tap ? 0 : tap * products_.tap_stride(array));
                for (int64_t output = first; output < last; ++output) {
                    const float* from = gw + products_.gw_at(output, array, column);
                    float sum = 0;
                    for (int64_t p = 0; p < parts; ++p) sum += from[p * part];
                    args_.gw[(output * channels + c) * taps + tap] = sum * args_.x_unit;
                }
            }
        }
    }

    // Of which a block has pixels, at most.
    static int64_t images_of_block(const ConvGeometry& g) {
        const int64_t most = ceil_div(kRows - 1, g.out_pixels()) + 1;
        return most < g.batch ? most : g.batch;
    }

    // Where an image begins in a thread's nhwc.
    int64_t place_of(int64_t image) const { return image % block_images_ * image_floats_; }

    // Leaves its place for another one.
    void finish_image(Room& room, int64_t image) const {
        const int64_t pixels = g_.height * g_.width;
        float* const from = floats(room.nhwc) + place_of(image);
        float* to = args_.gx + image * pixels * g_.channels;
        transpose_scaled(from, g_.channels, to, pixels, pixels, g_.channels, args_.w_unit);
        memset(from, 0, static_cast<size_t>(image_floats_ * kFloatBytes));
    }

    const AdcBackwardArgs& args_;
    const BinaryConv& conv_;
    const ConvGeometry& g_;
    const ArrayLayout& layout_;
    const BorderClasses& borders_;
    const Products& products_;
    Gatherer gatherer_;
    int64_t row_words_, array_bits_;
    int64_t image_floats_, block_images_;
};

// `panels` are the weights as the products count them.
template <class Products, class WeightPanels>
void run_backward(const AdcBackwardArgs& args, const WeightPanels& panels) {
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    const Products products(args, borders, panels);
    Backward<Products>(args, borders, products).run();
}

}  // namespace
}  // namespace bnnkit
