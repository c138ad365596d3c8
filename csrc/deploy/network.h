// A packed network: a list of steps, run a few images at a time on every thread.
//
// A thread takes a chunk of images through all layers before it takes the next, so that what passes between layers stays in its
// caches and threads meet only at the end. Nothing is allocated after the first call.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "../core/parallel.h"
#include "step.h"

namespace bnnkit::deploy {

class Network {
public:
    // The floats of the last step's buffer are the logits. Throws std::invalid_argument where steps do not fit each other.
    explicit Network(std::vector<StepPointer> steps);
    ~Network();

    Shape images() const { return steps_.front()->in_shape; }
    int64_t classes() const;
    const std::vector<StepPointer>& steps() const { return steps_; }
    int64_t bytes() const;  // of the workspaces in use

    // Nanoseconds spent in each step since the last call, over all threads.
    std::vector<int64_t> take_profile();

private:
    friend void run(const std::vector<Network*>& networks, const uint8_t* images, const int64_t* numbers, int64_t count,
                    float* logits, const Threads& threads);
    struct State;

    std::vector<StepPointer> steps_;
    std::unique_ptr<State> state_;
};

// logits float32 [networks][count][classes] of uint8 images [count][channels][height][width], which have `numbers`
// [count] within their data set (none: 0 to count - 1). Steps at the beginning that the networks share are run once.
void run(const std::vector<Network*>& networks, const uint8_t* images, const int64_t* numbers, int64_t count,
         float* logits, const Threads& threads);

// Networks by number, for callers that cannot hold a pointer; 0 is none.
int64_t enlist(Network* network);
void strike(int64_t number);
Network* listed(int64_t number);

}  // namespace bnnkit::deploy
