// Noise that is new at every conversion. Included inside an instruction-set region.
#pragma once

namespace bnnkit {
namespace {

inline uint64_t mix64(uint64_t h) {  // the finalizer of SplitMix64
    h += 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

// Of one array's conversions of one pixel; columns are told apart afterwards.
inline uint32_t noise_key(const ReadNoise& noise, int64_t image, int64_t pixel, int64_t conversion) {
    const uint64_t of_image = mix64(noise.seed ^ static_cast<uint64_t>(noise.first_image + image));
    return static_cast<uint32_t>(
        mix64(mix64(of_image ^ static_cast<uint64_t>(pixel)) ^ static_cast<uint64_t>(conversion)));
}

inline void add_noise(const ReadNoise& noise, uint32_t key, int32_t amplitude, int64_t column, const int16_t* v,
                      int32_t* noisy) {
    for (int j = 0; j < kLaneOutputs; ++j) {
        uint32_t h = key + static_cast<uint32_t>(column + j) * 0x9e3779b9u;
        h = (h ^ (h >> 16)) * 0x85ebca6bu;
        h = (h ^ (h >> 13)) * 0xc2b2ae35u;
        h ^= h >> 16;
        noisy[j] = v[j] + ((noise.normal[h >> 20] * amplitude + (1 << 15)) >> 16);
    }
}

}  // namespace
}  // namespace bnnkit
