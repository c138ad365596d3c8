// Values that are finished, pooled or averaged, and buffers that are turned: channels of a pixel together, or images abreast.
// Included inside run_code.h, in an instruction-set region.
#pragma once

void run_finish(const float* values, int64_t pixels, const Finishing& f) {
    if (f.abreast.lanes)
        return for_each_cell(f,
                             [&](const ImagesOfChannel& at) { finish_values(f, floats_at(values + at.value(f)), at); });
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        for (int64_t c = 0; c < f.channels; c += 16)
            finish_values(f, floats_at(values + pixel * f.stride + c), ChannelsOfPixel{pixel, c});
}

BNNKIT_INLINE Floats16 greater(const Floats16& a, const Floats16& b) { return choose(a > b, a, b); }

// The largest of 2 x 2 neighbours.
BNNKIT_INLINE Floats16 pooled(const float* top, const float* bottom, int64_t next) {
    return greater(greater(floats_at(top), floats_at(top + next)),
                   greater(floats_at(bottom), floats_at(bottom + next)));
}

void run_pool(const float* values, const Shape& shape, int64_t images, const Finishing& f) {
    const int64_t height = shape.height / 2, width = shape.width / 2;
    if (f.abreast.lanes)
        return for_each_cell(f, [&](const ImagesOfChannel& at) {
            const int64_t pixel = at.cell - at.channel * f.pixels, y = pixel / width, x = pixel % width;
            const int64_t from = at.channel * shape.pixels() + 2 * y * shape.width + 2 * x, lanes = f.abreast.lanes;
            const float* top = values + from * lanes + at.image;
            finish_values(f, pooled(top, top + shape.width * lanes, lanes), at);
        });
    for (int64_t pixel = 0; pixel < images * height * width; ++pixel) {
        const int64_t x = pixel % width, y = pixel / width % height, image = pixel / width / height;
        const float* top = values + ((image * shape.height + 2 * y) * shape.width + 2 * x) * f.stride;
        for (int64_t c = 0; c < f.channels; c += 16)
            finish_values(f, pooled(top + c, top + shape.width * f.stride + c, f.stride), ChannelsOfPixel{pixel, c});
    }
}

void run_mean(const float* values, const Shape& shape, int64_t images, const Finishing& f) {
    const int64_t pixels = shape.pixels();
    const auto mean = [&](const float* first, int64_t next) {
        Doubles16 sum = {};
        for (int64_t p = 0; p < pixels; ++p) sum += numbers<Doubles16>(floats_at(first + p * next));
        return numbers<Floats16>(sum / static_cast<double>(pixels));
    };
    if (f.abreast.lanes)
        return for_each_cell(f, [&](const ImagesOfChannel& at) {
            const float* first = values + at.channel * pixels * f.abreast.lanes + at.image;
            finish_values(f, mean(first, f.abreast.lanes), at);
        });
    for (int64_t image = 0; image < images; ++image)
        for (int64_t c = 0; c < f.channels; c += 16)
            finish_values(f, mean(values + image * pixels * f.stride + c, f.stride), ChannelsOfPixel{image, c});
}

typedef float FourFloats __attribute__((vector_size(16)));

// to[column][row] = from[row][column] of 4 x 4; strides in floats.
BNNKIT_INLINE void transpose4(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    FourFloats a[4];
    for (int i = 0; i < 4; ++i) memcpy(&a[i], from + i * from_stride, sizeof a[i]);
    const FourFloats low02 = __builtin_shufflevector(a[0], a[2], 0, 4, 1, 5);
    const FourFloats low13 = __builtin_shufflevector(a[1], a[3], 0, 4, 1, 5);
    const FourFloats high02 = __builtin_shufflevector(a[0], a[2], 2, 6, 3, 7);
    const FourFloats high13 = __builtin_shufflevector(a[1], a[3], 2, 6, 3, 7);
    const FourFloats b[4] = {
        __builtin_shufflevector(low02, low13, 0, 4, 1, 5), __builtin_shufflevector(low02, low13, 2, 6, 3, 7),
        __builtin_shufflevector(high02, high13, 0, 4, 1, 5), __builtin_shufflevector(high02, high13, 2, 6, 3, 7)};
    for (int i = 0; i < 4; ++i) memcpy(to + i * to_stride, &b[i], sizeof b[i]);
}

// The same of rows x columns. Strides are often powers of two, whose lines share few places in a cache: 16 x 16 at a time, so
// that every line is touched once.
inline void transpose_floats(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to,
                             int64_t to_stride) {
    constexpr int64_t kTile = 16;
    for (int64_t column = 0; column < columns; column += kTile)
        for (int64_t row = 0; row < rows; row += kTile) {
            const int64_t wide = columns - column < kTile ? columns - column : kTile;
            const int64_t high = rows - row < kTile ? rows - row : kTile;
            alignas(64) float tile[kTile][kTile];
            const float* const first = from + row * from_stride + column;
            if (wide == kTile && high == kTile) {
                for (int64_t r = 0; r < kTile; r += 4)
                    for (int64_t c = 0; c < kTile; c += 4)
                        transpose4(first + r * from_stride + c, from_stride, &tile[c][r], kTile);
            } else {
                for (int64_t r = 0; r < high; ++r)
                    for (int64_t c = 0; c < wide; ++c) tile[c][r] = first[r * from_stride + c];
            }
            float* const turned = to + column * to_stride + row;
            for (int64_t c = 0; c < wide; ++c)
                memcpy(turned + c * to_stride, tile[c], static_cast<size_t>(high) * sizeof(float));
        }
}

void turn_values(const float* from, const Shape& shape, int64_t images, bool abreast, float* to) {
    const int64_t lanes = Abreast::of(images).lanes, pixels = shape.pixels(), stride = shape.stride();
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
        if (abreast)
            transpose_floats(from + pixel * stride, pixels * stride, images, shape.channels, to + pixel * lanes,
                             pixels * lanes);
        else
            transpose_floats(from + pixel * lanes, pixels * lanes, shape.channels, images, to + pixel * stride,
                             pixels * stride);
}

// From words of a pixel's channels to words of a channel's images.
template <class Word>
void raise_bits(const uint64_t* from, const Shape& shape, int64_t images, char* to) {
    constexpr int64_t kImages = 8 * sizeof(Word), kPixels = 8;
    const int64_t pixels = shape.pixels(), words = shape.words();
    uint64_t of_pixel[kPixels][kImages] = {};
    for (int64_t word = 0; word < words; ++word)
        for (int64_t first = 0; first < pixels; first += kPixels) {
            const int64_t some = pixels - first < kPixels ? pixels - first : kPixels;
            for (int64_t i = 0; i < images; ++i)
                for (int64_t p = 0; p < some; ++p) of_pixel[p][i] = from[(i * pixels + first + p) * words + word];
            for (int64_t p = 0; p < some; ++p)
                for (int64_t channel = word * kWordBits; channel < shape.channels && channel < (word + 1) * kWordBits;
                     channel += 8) {
                    alignas(64) uint8_t bytes[kImages];
                    for (int64_t i = 0; i < kImages; ++i)
                        bytes[i] = static_cast<uint8_t>(of_pixel[p][i] >> (channel % kWordBits));
                    Word raised[8];
                    bits_of_bytes(bytes, raised);
                    for (int64_t c = 0; c < 8 && channel + c < shape.channels; ++c)
                        memcpy(to + ((channel + c) * pixels + first + p) * static_cast<int64_t>(sizeof(Word)),
                               &raised[c], sizeof(Word));
                }
        }
}

// And back; words of channels are 0 before.
template <class Word>
void lower_bits(const char* from, const Shape& shape, int64_t images, char* to) {
    constexpr int64_t kOctets = sizeof(Word);
    const int64_t pixel_bytes = shape.words() * 8, image_bytes = shape.pixels() * pixel_bytes;
    for (int64_t pixel = 0; pixel < shape.pixels(); ++pixel)
        for (int64_t channel = 0; channel < shape.channels; channel += 16) {
            alignas(64) uint8_t octets[kOctets][16] = {};
            for (int64_t c = 0; c < 16 && channel + c < shape.channels; ++c) {
                const char* const word = from + ((channel + c) * shape.pixels() + pixel) * sizeof(Word);
                for (int64_t octet = 0; octet < kOctets; ++octet) memcpy(&octets[octet][c], word + octet, 1);
            }
            char* const first = to + pixel * pixel_bytes + channel / 8;
            for (int64_t image = 0; image < images; image += 8) {
                uint16_t masks[8];
                masks_of_bytes(octets[image / 8], masks);
                for (int64_t i = 0; i < 8 && image + i < images; ++i)
                    memcpy(first + (image + i) * image_bytes, &masks[i], sizeof masks[i]);
            }
        }
}

void turn_bits(const uint64_t* from, const Shape& shape, int64_t images, bool abreast, uint64_t* to) {
    const char* const bytes = reinterpret_cast<const char*>(from);
    char* const turned = reinterpret_cast<char*>(to);
    const bool many = Abreast::of(images).word_bytes() == 8;
    if (abreast) {
        if (many) return raise_bits<uint64_t>(from, shape, images, turned);
        return raise_bits<uint32_t>(from, shape, images, turned);
    }
    memset(turned, 0, static_cast<size_t>(images * shape.pixels() * shape.words() * 8));
    if (many) return lower_bits<uint64_t>(bytes, shape, images, turned);
    lower_bits<uint32_t>(bytes, shape, images, turned);
}
