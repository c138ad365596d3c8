#include "arrange.h"

#include <algorithm>
#include <cstring>

namespace bnnkit::deploy {
namespace {

void arrange_bits(Buffer& buffer, bool abreast, Workspace& workspace, int64_t images, const Code& code) {
    if (buffer.bits_abreast == abreast) return;
    const int64_t before = buffer.plane_bytes(images, buffer.bits_abreast);
    unsigned char* const room = workspace.scratch.data();
    memcpy(room, buffer.bits.data(), static_cast<size_t>(buffer.planes * before));
    buffer.bits_abreast = abreast;
    for (int p = 0; p < buffer.planes; ++p)
        code.turn_bits(reinterpret_cast<const uint64_t*>(room + p * before), buffer.shape, images, abreast,
                       buffer.plane(p, images));
}

}  // namespace

void arrange_values(Buffer& buffer, bool abreast, Workspace& workspace, int64_t images, const Code& code) {
    if (buffer.values_abreast == abreast) return;
    const auto before = static_cast<size_t>(buffer.value_bytes(images, buffer.values_abreast));
    memcpy(workspace.scratch.data(), buffer.floats.data(), before);
    code.turn_values(reinterpret_cast<const float*>(workspace.scratch.data()), buffer.shape, images, abreast,
                     buffer.values());
    buffer.values_abreast = abreast;
}

void arrange(const Step& step, Workspace& workspace, int64_t images, const Code& code) {
    const bool abreast = step.abreast(workspace, images);
    const auto buffer = [&](int number) -> Buffer& { return workspace.buffers[static_cast<size_t>(number)]; };
    if (step.in != kImages)
        (step.reads_bits() ? arrange_bits : arrange_values)(buffer(step.in), abreast, workspace, images, code);
    if (step.finish.residual >= 0) arrange_values(buffer(step.finish.residual), abreast, workspace, images, code);
    Buffer& out = buffer(step.finish.out);
    if (step.finish.floats) out.values_abreast = abreast;
    if (step.finish.levels.planes) out.bits_abreast = abreast;
}

int64_t arranging_bytes(const std::vector<Buffer>& buffers, int64_t images) {
    int64_t most = 0;
    for (const Buffer& b : buffers)
        for (const bool abreast : {false, true}) {
            if (b.has_floats) most = std::max(most, b.value_bytes(images, abreast));
            most = std::max(most, b.planes * b.plane_bytes(images, abreast));
        }
    return most;
}

}  // namespace bnnkit::deploy
