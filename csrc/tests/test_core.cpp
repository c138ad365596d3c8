// Geometry, border classes and the loop over threads, against brute force.
#include <algorithm>

#include "../core/patches.h"
#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"

using namespace bnnkit;

TEST("layout: sizes follow from the law") {
    Random random(1);
    for (int i = 0; i < 300; ++i) {
        const DenseConv dense = random_conv(random, {2000});
        const ArrayLayout layout = layout_of(dense.geometry, dense.channels_per_array, dense.tap);
        check::describe(dense.text());
        CHECK_EQ(layout.chunks(), dense.chunks());
        CHECK_EQ(layout.arrays(), dense.arrays());
        CHECK_EQ(layout.slot_words(), dense.slot_words());
        CHECK_EQ(layout.array_words(), dense.array_words());
        int64_t channels = 0;
        for (int64_t chunk = 0; chunk < layout.chunks(); ++chunk) channels += layout.chunk_channels(chunk);
        CHECK_EQ(channels, dense.geometry.group_channels());
    }
}

TEST("border classes: masks and valid rows of every output pixel") {
    Random random(2);
    for (int i = 0; i < 150; ++i) {
        const DenseConv dense = random_conv(random, {4000});
        const auto& g = dense.geometry;
        const ArrayLayout layout = layout_of(g, dense.channels_per_array, dense.tap);
        const BorderClasses borders(g, layout);
        check::describe(dense.text());
        for (int64_t oy = 0; oy < g.out_height(); ++oy)
            for (int64_t ox = 0; ox < g.out_width(); ++ox) {
                std::vector<uint64_t> mask(static_cast<size_t>(layout.row_words()));
                std::vector<int64_t> valid(static_cast<size_t>(dense.arrays()));
                int64_t total = 0;
                dense.for_each_row(oy, ox, [&](int64_t c, int64_t t, int64_t, int64_t) {
                    const int64_t array = dense.array_of(c, t);
                    const int64_t bit = c % dense.channels_per_array + (dense.tap ? 0 : t * dense.channels_per_array);
                    set_bit(mask, array * dense.array_words(), bit);
                    ++valid[array];
                    ++total;
                });
                const int32_t border = borders.of_pixel(oy, ox);
                if (!CHECK(border >= 0 && border < borders.count())) continue;
                CHECK_EQ(border == 0, total == g.taps() * g.group_channels());
                CHECK_EQ(borders.valid_rows(border), total);
                for (int64_t s = 0; s < dense.arrays(); ++s) CHECK_EQ(borders.valid_rows(border, s), valid[s]);
                CHECK_SAME(std::vector<uint64_t>(borders.mask(border), borders.mask(border) + layout.row_words()),
                           mask);
            }
    }
}

TEST("parallel_for: every index once, whatever the threads") {
    for (const Threads& threads : {one_thread(), several_threads<2>(), several_threads<5>()}) {
        for (int64_t count : {0, 1, 2, 7, 100}) {
            check::describe(threads.count, " threads, ", count, " items");
            std::vector<std::atomic<int>> met(static_cast<size_t>(count));
            parallel_for(threads, count, [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) ++met[i];
            });
            CHECK(std::all_of(met.begin(), met.end(), [](const auto& n) { return n == 1; }));
        }
    }
}

int main() { return check::run_tests(); }
