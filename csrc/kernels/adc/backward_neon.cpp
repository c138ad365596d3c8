#if defined(__aarch64__)
#include <cstdlib>
#include <cstring>

#include "../../core/panels.h"
#include "adc.h"

#include "../../core/lanes_neon.h"

#include "../../core/blocks.h"

namespace bnnkit {
namespace {

constexpr int kFloats = 4;       // per vector
constexpr int kProductRows = 6;  // of a register tile of a float product
constexpr int kProductVectors = 4;

inline float32x4_t broadcast_float(float x) { return vdupq_n_f32(x); }

template <class V>
inline V multiply_add(V x, V y, V sum) {
    return (V)vfmaq_f32((float32x4_t)sum, (float32x4_t)x, (float32x4_t)y);
}

}  // namespace
}  // namespace bnnkit

#include "backward_vector.h"

namespace bnnkit {
void adc_backward_neon(const AdcBackwardArgs& args) { run_backward<VectorProducts>(args, count_panels(args.conv)); }
}  // namespace bnnkit
#endif
