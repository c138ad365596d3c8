// What a step reads, laid as it wants it.
#pragma once

#include <vector>

#include "code.h"
#include "step.h"

namespace bnnkit::deploy {

// Turns what `step` reads where it was left otherwise, and notes how it will leave what it writes. Room for it is in the scratch
// memory, see arranging_bytes.
void arrange(const Step& step, Workspace& workspace, int64_t images, const Code& code);

// Turns the values of a buffer, if they lie otherwise.
void arrange_values(Buffer& buffer, bool abreast, Workspace& workspace, int64_t images, const Code& code);

// What turning takes of the scratch memory.
int64_t arranging_bytes(const std::vector<Buffer>& buffers, int64_t images);

}  // namespace bnnkit::deploy
