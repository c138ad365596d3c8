#include "border_patterns.h"

#include <map>
#include <numeric>

namespace bnnkit {

int64_t block_of_whole_images(const ConvGeometry& g, int64_t most) {
    const int64_t pixels = g.out_pixels();
    if (pixels <= most) return most / pixels * pixels;
    int64_t block = most;
    while (pixels % block != 0) --block;
    return block;
}

BorderPatterns::BorderPatterns(const ConvGeometry& g, const BorderClasses& borders, int64_t block, int64_t lanes,
                               int64_t most)
    : block_(block),
      vectors_(ceil_div(block, lanes)),
      period_(borders.count() == 1 ? 1 : g.out_pixels() / std::gcd(g.out_pixels(), block)) {
    std::map<std::vector<int32_t>, int32_t> known;
    for (int64_t vector = 0; vector < period_ * vectors_; ++vector) {
        std::vector<int32_t> classes;
        for (int64_t lane = 0; lane < lanes; ++lane) {
            // Lanes past the block are not read.
            const int64_t in_block = std::min(vector % vectors_ * lanes + lane, block - 1);
            const int64_t pixel = (vector / vectors_ * block + in_block) % g.out_pixels();
            classes.push_back(borders.of_pixel(pixel / g.out_width(), pixel % g.out_width()));
        }
        const auto [entry, fresh] = known.emplace(classes, static_cast<int32_t>(parts_.size()));
        of_vector_.push_back(entry->second);
        if (!fresh) continue;
        if (count() == most) {
            parts_.clear();
            return;
        }
        std::map<int32_t, std::vector<uint64_t>> of_class;
        for (int64_t lane = 0; lane < lanes; ++lane) {
            std::vector<uint64_t>& words = of_class[classes[static_cast<size_t>(lane)]];
            words.resize(static_cast<size_t>(lanes / kWordBits));
            words[static_cast<size_t>(lane / kWordBits)] |= uint64_t{1} << (lane % kWordBits);
        }
        std::vector<Pixels> parts;
        for (auto& [border_class, words] : of_class) parts.push_back({border_class, std::move(words)});
        parts_.push_back(std::move(parts));
    }
}

}  // namespace bnnkit
