#include <utility>

#include "finish.h"
#include "steps.h"

namespace bnnkit::deploy {
namespace {

class MeanStep : public Step {
public:
    MeanStep(std::string name, int in, Shape in_shape, Finish finish)
        : Step(std::move(name), in, in_shape, {in_shape.channels, 1, 1}, std::move(finish)) {}

    int64_t scratch_bytes(int64_t) const override { return 0; }

    void run(Workspace& workspace, int64_t images) const override {
        code_.mean(workspace.buffers[static_cast<size_t>(in)].values(), in_shape, images,
                   resolved(finish, workspace, images));
    }

private:
    const Code& code_ = usual_code();
};

}  // namespace

StepPointer mean_step(std::string name, int in, Shape in_shape, Finish finish) {
    return std::make_shared<MeanStep>(std::move(name), in, in_shape, padded(std::move(finish), in_shape.channels));
}

}  // namespace bnnkit::deploy
