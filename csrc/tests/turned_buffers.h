// Buffers with images abreast (deploy/abreast.h) and back, bit by bit and value by value.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "../deploy/step.h"

namespace bnnkit::deploy {

// Values [images][pixels][stride] as [channel][pixel][lanes].
template <class T>
std::vector<T> values_abreast(const std::vector<T>& values, const Shape& shape, int64_t images) {
    const int64_t lanes = Abreast::of(images).lanes, pixels = shape.pixels();
    std::vector<T> turned(static_cast<size_t>(shape.channels * pixels * lanes));
    for (int64_t image = 0; image < images; ++image)
        for (int64_t p = 0; p < pixels; ++p)
            for (int64_t c = 0; c < shape.channels; ++c)
                turned[static_cast<size_t>((c * pixels + p) * lanes + image)] =
                    values[static_cast<size_t>((image * pixels + p) * shape.stride() + c)];
    return turned;
}

template <class T>
std::vector<T> values_together(const std::vector<T>& turned, const Shape& shape, int64_t images) {
    const int64_t lanes = Abreast::of(images).lanes, pixels = shape.pixels();
    std::vector<T> values(static_cast<size_t>(images * pixels * shape.stride()));
    for (int64_t image = 0; image < images; ++image)
        for (int64_t p = 0; p < pixels; ++p)
            for (int64_t c = 0; c < shape.channels; ++c)
                values[static_cast<size_t>((image * pixels + p) * shape.stride() + c)] =
                    turned[static_cast<size_t>((c * pixels + p) * lanes + image)];
    return values;
}

// Words of a plane of bits with images abreast, in 64-bit words.
inline int64_t plane_words_abreast(const Shape& shape, int64_t images) {
    return Abreast::of(images).plane_bytes(shape.channels, shape.pixels()) / 8;
}

// Planes [images][pixels][words] as [channel][pixel], each beginning where the next 64 bytes begin; and back.
inline std::vector<uint64_t> turned_bits(const std::vector<uint64_t>& bits, const Shape& shape, int64_t images,
                                         int64_t planes, bool abreast) {
    const int64_t pixels = shape.pixels(), word_bytes = Abreast::of(images).word_bytes();
    const int64_t together = images * pixels * shape.words() * 8, turned = plane_words_abreast(shape, images) * 8;
    std::vector<uint64_t> found(static_cast<size_t>(planes * (abreast ? turned : together) / 8));
    const auto* from = reinterpret_cast<const unsigned char*>(bits.data());
    auto* to = reinterpret_cast<unsigned char*>(found.data());
    for (int64_t plane = 0; plane < planes; ++plane)
        for (int64_t image = 0; image < images; ++image)
            for (int64_t p = 0; p < pixels; ++p)
                for (int64_t c = 0; c < shape.channels; ++c) {
                    const int64_t of_pixel = plane * together + (image * pixels + p) * shape.words() * 8 + c / 8;
                    const int64_t of_channel = plane * turned + (c * pixels + p) * word_bytes + image / 8;
                    const int bit = from[abreast ? of_pixel : of_channel] >> (abreast ? c : image) % 8 & 1;
                    to[abreast ? of_channel : of_pixel] |= static_cast<unsigned char>(bit << (abreast ? image : c) % 8);
                }
    return found;
}

}  // namespace bnnkit::deploy
