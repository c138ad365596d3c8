#include "matrix_rates.h"

#include "warp_matrix.h"

namespace bnnkit {
namespace {

constexpr int kWarps = 8,
              kChains = 8;  // independent accumulators of a warp, so that no instruction waits for the last one
constexpr int64_t kMmaMacs = 16 * 8;  // per value of k
constexpr int64_t kWgmmaMacs = 64 * 256 * 256;
constexpr int kWarpgroups = 2;

// Operands that change from lane to lane: zeros could run faster than what is computed in earnest.
__device__ uint32_t noise(uint32_t seed) {
    seed ^= threadIdx.x * 0x9E3779B9u + blockIdx.x * 0x85EBCA6Bu;
    seed ^= seed >> 15;
    return seed * 0x2C1B3C6Du;
}

template <int kBits>
__device__ void multiply(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if BNNKIT_HAS_AMPERE
    if constexpr (kBits == 128) {
        asm volatile(
            "mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(b[0]));
        return;
    }
#endif
    and_count(d, a, b, d);
}

template <int kBits>
__global__ void __launch_bounds__(32 * kWarps) mma_loop(int64_t iterations, int* out) {
    const uint32_t a[4] = {noise(1), noise(2), noise(3), noise(4)}, b[2] = {noise(5), noise(6)};
    int d[kChains][4] = {};
    for (int64_t i = 0; i < iterations; ++i)
#pragma unroll
        for (int chain = 0; chain < kChains; ++chain) multiply<kBits>(d[chain], a, b);
    int sum = 0;
    for (int chain = 0; chain < kChains; ++chain)
        for (int v = 0; v < 4; ++v) sum += d[chain][v];
    if (sum == -1) *out = sum;  // never, but the compiler does not know
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Rows of 32 bytes without swizzling: core matrices of 8 rows x 16 bytes lie one after another, first along k.
__device__ uint64_t matrix_descriptor(const void* shared) {
    constexpr uint64_t kAlongK = 128, kAlongRows = 256;  // bytes from one core matrix to the next
    const uint64_t address = __cvta_generic_to_shared(shared);
    return (address & 0x3FFFF) >> 4 | (kAlongK >> 4) << 16 | (kAlongRows >> 4) << 32;
}
#endif

__global__ void __launch_bounds__(128 * kWarpgroups, 1)
    wgmma_loop([[maybe_unused]] int64_t iterations, [[maybe_unused]] int* out) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    __shared__ alignas(1024) uint32_t a[kWarpgroups][64 * 8], b[256 * 8];
    for (int i = static_cast<int>(threadIdx.x); i < kWarpgroups * 64 * 8; i += blockDim.x) a[0][i] = noise(i);
    for (int i = static_cast<int>(threadIdx.x); i < 256 * 8; i += blockDim.x) b[i] = noise(~i);
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    const uint64_t a_rows = matrix_descriptor(a[threadIdx.x / 128]), b_rows = matrix_descriptor(b);
    int d[128] = {};
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    for (int64_t i = 0; i < iterations; ++i) {
        // clang-format off
        asm volatile(
            "wgmma.mma_async.sync.aligned.m64n256k256.s32.b1.b1.and.popc {"
            "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
            "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
            "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
            "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
            "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
            "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
            "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
            "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
            "}, %128, %129, 1;"
            : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), "+r"(d[6]), "+r"(d[7]),
              "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]),
              "+r"(d[16]), "+r"(d[17]), "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]),
              "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), "+r"(d[30]), "+r"(d[31]),
              "+r"(d[32]), "+r"(d[33]), "+r"(d[34]), "+r"(d[35]), "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]),
              "+r"(d[40]), "+r"(d[41]), "+r"(d[42]), "+r"(d[43]), "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]),
              "+r"(d[48]), "+r"(d[49]), "+r"(d[50]), "+r"(d[51]), "+r"(d[52]), "+r"(d[53]), "+r"(d[54]), "+r"(d[55]),
              "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59]), "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63]),
              "+r"(d[64]), "+r"(d[65]), "+r"(d[66]), "+r"(d[67]), "+r"(d[68]), "+r"(d[69]), "+r"(d[70]), "+r"(d[71]),
              "+r"(d[72]), "+r"(d[73]), "+r"(d[74]), "+r"(d[75]), "+r"(d[76]), "+r"(d[77]), "+r"(d[78]), "+r"(d[79]),
              "+r"(d[80]), "+r"(d[81]), "+r"(d[82]), "+r"(d[83]), "+r"(d[84]), "+r"(d[85]), "+r"(d[86]), "+r"(d[87]),
              "+r"(d[88]), "+r"(d[89]), "+r"(d[90]), "+r"(d[91]), "+r"(d[92]), "+r"(d[93]), "+r"(d[94]), "+r"(d[95]),
              "+r"(d[96]), "+r"(d[97]), "+r"(d[98]), "+r"(d[99]), "+r"(d[100]), "+r"(d[101]), "+r"(d[102]), "+r"(d[103]),
              "+r"(d[104]), "+r"(d[105]), "+r"(d[106]), "+r"(d[107]), "+r"(d[108]), "+r"(d[109]), "+r"(d[110]), "+r"(d[111]),
              "+r"(d[112]), "+r"(d[113]), "+r"(d[114]), "+r"(d[115]), "+r"(d[116]), "+r"(d[117]), "+r"(d[118]), "+r"(d[119]),
              "+r"(d[120]), "+r"(d[121]), "+r"(d[122]), "+r"(d[123]), "+r"(d[124]), "+r"(d[125]), "+r"(d[126]), "+r"(d[127])
            : "l"(a_rows), "l"(b_rows));
        // clang-format on
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    int sum = 0;
    for (int value : d) sum += value;
    if (sum == -1) *out = sum;
#endif
}

int attribute(cudaDeviceAttr which) {
    int device = 0, value = 0;
    check_cuda(cudaGetDevice(&device), "current device");
    check_cuda(cudaDeviceGetAttribute(&value, which, device), "device attribute");
    return value;
}

}  // namespace

int64_t matrix_rate_cuda(const std::string& instruction, int64_t iterations, const Device& device) {
    const int blocks = attribute(cudaDevAttrMultiProcessorCount);
    const int capability = attribute(cudaDevAttrComputeCapabilityMajor);
    auto* out = static_cast<int*>(device.workspace);
    if (instruction == "wgmma.k256") {
        if (capability != 9) throw std::runtime_error("wgmma: needed a GPU of compute capability 9.0");
        launch(wgmma_loop, dim3(blocks), 128 * kWarpgroups, 0, device.stream, iterations, out);
        return iterations * blocks * kWarpgroups * kWgmmaMacs;
    }
    if (instruction != "mma.k128" && instruction != "mma.k256")
        throw std::invalid_argument("instruction '" + instruction + "'; needed mma.k128, mma.k256 or wgmma.k256");
    if (capability < 8) throw std::runtime_error("mma: needed a GPU of compute capability 8.0");
    const int bits = instruction == "mma.k128" ? 128 : 256;
    launch(bits == 128 ? mma_loop<128> : mma_loop<256>, dim3(2 * blocks), 32 * kWarps, 0, device.stream, iterations,
           out);
    return iterations * 2 * blocks * kWarps * kChains * kMmaMacs * bits;
}

}  // namespace bnnkit
