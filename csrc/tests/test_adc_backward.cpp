// adc_backward: the reference against gradients of a dense convolution, every variant against the reference.
#include <cmath>

#include "../kernels/adc/adc.h"
#include "check.h"
#include "plain_threads.h"
#include "random_conv.h"
#include "usable_variants.h"

using namespace bnnkit;

namespace {

struct Gradients {
    std::vector<float> gx, gw;
};

struct Problem {
    DenseConv dense;
    std::vector<float> slopes, gy;  // no slopes: 1 everywhere
    int64_t slope_bound = 0;
    float x_unit = 1, w_unit = 1;
};

Problem random_problem(Random& random, const DenseConv& dense) {
    Problem p{dense, {}, {}, 0, 1.0f / static_cast<float>(dense.x.bound()), 1.0f / static_cast<float>(dense.w.bound())};
    const auto& g = dense.geometry;
    p.gy.resize(static_cast<size_t>(g.batch * g.out_channels * g.out_pixels()));
    for (float& v : p.gy) v = random.chance(20) ? 0.0f : random.real(-1, 1);
    if (random.chance(85)) {
        p.slope_bound = dense.bound() + random.between(0, 5);
        p.slopes.resize(static_cast<size_t>(2 * p.slope_bound + 1));
        for (float& s : p.slopes) s = random.chance(20) ? 0.0f : random.real(-2, 2);
    }
    return p;
}

Gradients run(void (*kernel)(const AdcBackwardArgs&), const Problem& p, const Threads& threads) {
    const PackedConv packed(p.dense, threads);
    Gradients out{std::vector<float>(static_cast<size_t>(p.dense.x.elements), -12345.0f),
                  std::vector<float>(static_cast<size_t>(p.dense.w.elements), -12345.0f)};
    AdcBackwardArgs args;
    args.conv = packed.conv;
    args.slopes = p.slopes.empty() ? nullptr : p.slopes.data();
    args.slope_bound = p.slope_bound;
    args.x_unit = p.x_unit;
    args.w_unit = p.w_unit;
    args.gy = p.gy.data();
    args.gx = out.gx.data();
    args.gw = out.gw.data();
    kernel(args);
    return out;
}

struct Exact {
    std::vector<double> gx, gw;
    std::vector<double> gx_size, gw_size;  // sums of magnitudes: what rounding is relative to
};

Exact plain(const Problem& p) {
    const DenseConv& d = p.dense;
    const auto& g = d.geometry;
    Exact e;
    e.gx.resize(static_cast<size_t>(d.x.elements)), e.gx_size = e.gx;
    e.gw.resize(static_cast<size_t>(d.w.elements)), e.gw_size = e.gw;
    d.for_each_output([&](int64_t index, int64_t output, const std::vector<int64_t>& sums) {
        const int64_t image = index / g.out_pixels() / g.out_channels, pixel = index % g.out_pixels();
        const int64_t first = output / g.group_outputs() * g.group_channels();
        d.for_each_row(pixel / g.out_width(), pixel % g.out_width(), [&](int64_t c, int64_t t, int64_t iy, int64_t ix) {
            const int64_t ps = sums[d.array_of(c, t)];
            const double slope = p.slopes.empty() ? 1.0 : static_cast<double>(p.slopes[ps + p.slope_bound]);
            const int64_t xi = d.x_at(image, first + c, iy, ix), wi = d.w_at(output, c, t);
            const double gps = static_cast<double>(p.gy[index]) * slope;
            const double to_x = gps * static_cast<double>(d.w.value(wi)) * static_cast<double>(p.w_unit);
            const double to_w = gps * static_cast<double>(d.x.value(xi)) * static_cast<double>(p.x_unit);
            // The units are such that a sum of all planes is 1; the planes of a value may be added one by one.
            e.gx[xi] += to_x, e.gx_size[xi] += std::abs(gps);
            e.gw[wi] += to_w, e.gw_size[wi] += std::abs(gps);
        });
    });
    return e;
}

// What a variant may lose, relative to the magnitudes that were added: rounding of float32 sums; on tiles 16 bits of g.
double tolerance(Isa isa) { return isa == Isa::amx ? 2e-5 : 2e-6; }

void check_close(const std::vector<float>& got, const std::vector<double>& want, const std::vector<double>& size,
                 double relative, const char* which) {
    for (size_t i = 0; i < want.size(); ++i) {
        if (std::abs(got[i] - want[i]) <= relative * size[i] + 1e-30) continue;
        std::ostringstream what;
        what << which << " at " << i << ": " << got[i] << ", exact " << want[i] << " of magnitude " << size[i];
        check::fail(__FILE__, __LINE__, what.str());
        return;
    }
}

std::vector<Variant<AdcBackwardArgs>> variants() {
    std::vector<Variant<AdcBackwardArgs>> all = {{Isa::reference, adc_backward_reference}};
#if defined(BNNKIT_EMULATED_CUDA)
    all.push_back({Isa::cuda, emulated_adc_backward});
#elif defined(__x86_64__)
    for (const auto& variant : usable_of<AdcBackwardArgs>(
             {{Isa::avx2, adc_backward_avx2}, {Isa::avx512, adc_backward_avx512}, {Isa::amx, adc_backward_amx}}))
        all.push_back(variant);
#elif defined(__aarch64__)
    all.push_back({Isa::neon, adc_backward_neon});
#endif
    return all;
}

void check_all(const Problem& problem) {
    const Exact exact = plain(problem);
    const char* slopes = problem.slopes.empty() ? ", no slopes, " : ", ";
    for (const auto& variant : variants()) {
        check::describe(name_of(variant.isa), slopes, problem.dense.text());
        const Gradients one = run(variant.run, problem, one_thread());
        check_close(one.gx, exact.gx, exact.gx_size, tolerance(variant.isa), "gx");
        check_close(one.gw, exact.gw, exact.gw_size, tolerance(variant.isa), "gw");
        check::describe(name_of(variant.isa), ", 1 against 3 threads", slopes, problem.dense.text());
        const Gradients several = run(variant.run, problem, several_threads<3>());
        CHECK_SAME(several.gx, one.gx);
        CHECK_SAME(several.gw, one.gw);
    }
}

}  // namespace

TEST("adc_backward: random convolutions and slopes") {
    Random random(1);
    for (int i = 0; i < cases(250); ++i) check_all(random_problem(random, random_conv(random, {60000})));
}

TEST("adc_backward: matrix products with 1 to 1024 rows per array") {
    Random random(2);
    for (int64_t rows : {1, 2, 63, 64, 65, 126, 128, 129, 500, 1024}) {
        const int64_t k = rows < 8 ? 9 * rows + 1 : 2 * rows + random.between(0, rows);
        check_all(
            random_problem(random, matrix_product(random, random.between(1, 12), random.between(1, 12), k, rows)));
    }
}

TEST("adc_backward: more pixels and outputs than any block") {
    Random random(3);
    check_all(random_problem(random, matrix_product(random, 300, 5, 40, 20)));
    check_all(random_problem(random, matrix_product(random, 5, 150, 40, 16)));
}

TEST("adc_backward: images larger than any block, with borders and groups") {
    Random random(5);
    for (int planes = 1; planes <= 4; ++planes) {
        DenseConv dense;
        auto& g = dense.geometry;
        g.batch = 2, g.channels = 12, g.out_channels = 6, g.groups = 2, g.height = 17, g.width = 19;
        g.kernel_h = g.kernel_w = 3, g.pad_h = g.pad_w = 1;
        dense.channels_per_array = 4;
        dense.x.planes = planes, dense.w.planes = 5 - planes;
        dense.fill(random);
        check_all(random_problem(random, dense));
    }
}

// What training must notice must not vanish on the way.
TEST("adc_backward: a gradient that is not finite stays so") {
    Random random(6);
    for (int i = 0; i < 40; ++i) {
        Problem problem = random_problem(random, random_conv(random, {20000}));
        for (float& slope : problem.slopes) slope = random.real(0.5f, 2);
        const float values[] = {std::nanf(""), INFINITY, -INFINITY};
        problem.gy[random.between(0, static_cast<int64_t>(problem.gy.size()) - 1)] = random.any_of(values);
        const Gradients expected = run(adc_backward_reference, problem, one_thread());
        for (const auto& variant : variants()) {
            check::describe(name_of(variant.isa), ", ", problem.dense.text());
            const Gradients got = run(variant.run, problem, several_threads<2>());
            for (size_t at = 0; at < got.gx.size(); ++at)
                if (!std::isfinite(expected.gx[at])) CHECK(!std::isfinite(got.gx[at]));
            for (size_t at = 0; at < got.gw.size(); ++at)
                if (!std::isfinite(expected.gw[at])) CHECK(!std::isfinite(got.gw[at]));
        }
    }
}

TEST("adc_backward: an empty batch has no weight gradient") {
    Random random(4);
    const Problem problem = random_problem(random, matrix_product(random, 0, 5, 300, 128));
    check_all(problem);
}

#if defined(BNNKIT_EMULATED_CUDA)
TEST("adc_backward: factors rounded to bfloat16") {
    constexpr double kRounding = 1.0 / 256;  // of g; what it is multiplied by is exact
    Random random(7);
    int rounded = 0;
    for (int i = 0; i < 20; ++i) {
        const Problem problem = random_problem(random, random_conv(random, {20000}));
        const Exact exact = plain(problem);
        check::describe("bfloat16, ", problem.dense.text());
        const Gradients got = run(emulated_adc_backward_bfloat16, problem, one_thread());
        check_close(got.gx, exact.gx, exact.gx_size, kRounding, "gx");
        check_close(got.gw, exact.gw, exact.gw_size, kRounding, "gw");
        rounded += got.gx != run(emulated_adc_backward, problem, one_thread()).gx;
    }
    check::describe("gradients that differ from those of float32 factors");
    CHECK(rounded > 10);
}
#endif

int main() { return check::run_tests(); }
