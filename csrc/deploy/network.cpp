#include "network.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>

#include "arrange.h"
#include "code.h"

namespace bnnkit::deploy {
namespace {

constexpr int64_t kChunkBytes = int64_t{1} << 20;  // what a thread should work in: about its own cache

std::vector<Buffer> buffers_of(const std::vector<StepPointer>& steps) {
    std::vector<Buffer> buffers;
    for (const StepPointer& step : steps) {
        const auto out = static_cast<size_t>(step->finish.out);
        if (out >= 64) throw std::invalid_argument(step->name + ": buffers are numbered 0 to 63");
        if (buffers.size() <= out) buffers.resize(out + 1);
        Buffer& buffer = buffers[out];
        if (buffer.shape.channels != 0 && buffer.shape != step->out_shape)
            throw std::invalid_argument(step->name + ": buffer of another shape");
        buffer.shape = step->out_shape;
        buffer.has_floats |= step->finish.floats;
        buffer.planes = std::max(buffer.planes, step->finish.levels.planes);
    }
    return buffers;
}

// What each step reads must have been written with the shape it expects.
void check_order(const std::vector<StepPointer>& steps) {
    std::map<int, const Step*> written;
    for (const StepPointer& step : steps) {
        const auto reads = [&](int buffer, const Shape& shape) {
            const auto found = written.find(buffer);
            if (found == written.end()) throw std::invalid_argument(step->name + ": reads a buffer nothing wrote");
            if (found->second->out_shape != shape)
                throw std::invalid_argument(step->name + ": reads a buffer of another shape");
        };
        if (step->in != kImages) reads(step->in, step->in_shape);
        if (step->finish.residual >= 0) reads(step->finish.residual, step->out_shape);
        if (step->in == step->finish.out) throw std::invalid_argument(step->name + ": writes what it reads");
        written[step->finish.out] = step.get();
    }
}

// Whether the values of step `at` may lie where those of its shortcut did, so that a thread works in less memory: no later
// step of this network reads the latter.
bool ends_a_shortcut(const std::vector<StepPointer>& steps, size_t at) {
    const Finish& end = steps[at]->finish;
    if (end.residual < 0 || end.residual == end.out || !end.floats) return false;
    for (size_t later = at + 1; later < steps.size(); ++later) {
        const Step& step = *steps[later];
        if (step.finish.residual == end.residual || (step.in == end.residual && !step.reads_bits())) return false;
        if (step.finish.out == end.residual && step.finish.floats) return true;
    }
    return true;
}

bool counts_many(const std::vector<StepPointer>& steps) {
    return std::any_of(steps.begin(), steps.end(), [](const StepPointer& s) { return s->prefers_many(); });
}

// What a chunk of images takes, whichever way their values and bits lie.
struct Needs {
    const int64_t images;
    const bool either_way;  // so few images as no layer counts at a time are never abreast
    const std::vector<Buffer> buffers;
    int64_t scratch = 0;

    Needs(const std::vector<StepPointer>& steps, int64_t images)
        : images(images),
          either_way(counts_many(steps) && images >= usual_code().vertical_images),
          buffers(buffers_of(steps)) {
        for (const StepPointer& step : steps) scratch = std::max(scratch, step->scratch_bytes(images));
        if (either_way) scratch = std::max(scratch, arranging_bytes(buffers, images));
    }

    int64_t value_bytes(const Buffer& b) const {
        if (!b.has_floats) return 0;
        return std::max(b.value_bytes(images, false), either_way ? b.value_bytes(images, true) : 0);
    }
    int64_t bit_bytes(const Buffer& b) const {
        return b.planes * std::max(b.plane_bytes(images, false), either_way ? b.plane_bytes(images, true) : 0);
    }
    int64_t bytes() const {
        int64_t bytes = scratch;
        for (const Buffer& b : buffers) bytes += value_bytes(b) + bit_bytes(b);
        return bytes;
    }

    Workspace workspace() const {
        Workspace w;
        for (const Buffer& needed : buffers) {
            Buffer& b = w.buffers.emplace_back();
            b.shape = needed.shape, b.planes = needed.planes, b.has_floats = needed.has_floats;
            b.floats = Memory(value_bytes(needed));
            // Reading whole vectors may pass the end of the last pixel.
            b.bits = Memory(bit_bytes(needed) + 64);
        }
        w.scratch = Memory(scratch);
        return w;
    }

    bool are_met_by(const Workspace& w) const {
        if (w.buffers.size() < buffers.size() || w.scratch.bytes() < scratch) return false;
        for (size_t i = 0; i < buffers.size(); ++i)
            if (w.buffers[i].shape != buffers[i].shape || w.buffers[i].planes < buffers[i].planes ||
                w.buffers[i].has_floats < buffers[i].has_floats)
                return false;
        return true;
    }
};

}  // namespace

struct Network::State {
    int64_t chunk = 1;
    std::mutex running;  // the workspaces serve one call at a time
    std::vector<Workspace> workspaces;
    std::vector<std::atomic<int64_t>> nanoseconds;

    explicit State(size_t steps) : nanoseconds(steps) {}
};

Network::Network(std::vector<StepPointer> steps)
    : steps_(std::move(steps)), state_(std::make_unique<State>(steps_.size())) {
    if (steps_.empty() || steps_.front()->in != kImages)
        throw std::invalid_argument("a network begins with a step that reads images");
    if (!steps_.back()->finish.floats || steps_.back()->out_shape.pixels() != 1)
        throw std::invalid_argument("a network ends with a step that keeps floats of one pixel");
    check_order(steps_);
    int64_t& chunk = state_->chunk;
    const auto most = [&](int64_t bytes) {
        int64_t images = 1;
        while (images < kMostImages && Needs(steps_, 2 * images).bytes() <= bytes) images *= 2;
        return images;
    };
    chunk = counts_many(steps_) ? most(usual_code().vertical_bytes) : 1;
    if (chunk < usual_code().vertical_images) chunk = most(kChunkBytes);
}

Network::~Network() = default;

int64_t Network::classes() const { return steps_.back()->out_shape.channels; }

int64_t Network::bytes() const {
    int64_t bytes = 0;
    for (const Workspace& workspace : state_->workspaces) {
        bytes += workspace.scratch.bytes();
        for (const Buffer& buffer : workspace.buffers) bytes += buffer.floats.bytes() + buffer.bits.bytes();
    }
    return bytes;
}

std::vector<int64_t> Network::take_profile() {
    std::vector<int64_t> taken;
    for (auto& ns : state_->nanoseconds) taken.push_back(ns.exchange(0));
    return taken;
}

void run(const std::vector<Network*>& networks, const uint8_t* images, const int64_t* numbers, int64_t count,
         float* logits, const Threads& threads) {
    if (networks.empty() || count == 0) return;
    Network& first = *networks.front();
    size_t shared = first.steps_.size();
    for (const Network* network : networks) {
        if (network->classes() != first.classes()) throw std::invalid_argument("networks differ in their classes");
        const size_t most = std::min(shared, network->steps_.size());
        shared = 0;
        while (shared < most && network->steps_[shared] == first.steps_[shared]) ++shared;
    }
    // What the shared steps leave behind must survive every network's own steps.
    std::vector<StepPointer> all;
    for (const Network* network : networks) all.insert(all.end(), network->steps_.begin(), network->steps_.end());
    const auto keeps = [&](size_t steps) {
        for (const Network* network : networks)
            for (size_t own = steps; own < network->steps_.size(); ++own)
                for (size_t s = 0; s < steps; ++s)
                    if (network->steps_[own]->finish.out == first.steps_[s]->finish.out) return false;
        return true;
    };
    while (networks.size() > 1 && shared > 0 && !keeps(shared)) --shared;

    Network::State& state = *first.state_;
    const std::lock_guard<std::mutex> guard(state.running);
    const Shape shape = first.images();
    const int64_t image_bytes = shape.channels * shape.pixels(), classes = first.classes();
    // Small batches: smaller chunks, so that every thread has one.
    const int64_t chunk = std::max<int64_t>(1, std::min(state.chunk, ceil_div(count, threads.count)));
    const int64_t chunks = ceil_div(count, chunk), workers = std::min<int64_t>(threads.count, chunks);
    const Needs needs(all, state.chunk);
    if (!state.workspaces.empty() && !needs.are_met_by(state.workspaces.front())) state.workspaces.clear();
    while (static_cast<int64_t>(state.workspaces.size()) < workers) state.workspaces.push_back(needs.workspace());

    std::atomic<int64_t> next{0};
    const Code& code = usual_code();
    const bool many = counts_many(all);
    // Values that one of several networks adds to may be a shortcut of the next as well.
    const auto adds_in_place = [&](const Network& network, size_t step) {
        return networks.size() == 1 && ends_a_shortcut(network.steps_, step);
    };
    parallel_for(threads, workers, [&](int64_t begin, int64_t end) {
        for (int64_t worker = begin; worker < end; ++worker) {
            Workspace& workspace = state.workspaces[static_cast<size_t>(worker)];
            const auto run_step = [&](Network& network, size_t step, int64_t some) {
                const auto before = std::chrono::steady_clock::now();
                arrange(*network.steps_[step], workspace, some, code);
                const Finish& end = network.steps_[step]->finish;
                workspace.adds_in_place = adds_in_place(network, step);
                if (workspace.adds_in_place)
                    std::swap(workspace.buffers[static_cast<size_t>(end.out)].floats,
                              workspace.buffers[static_cast<size_t>(end.residual)].floats);
                network.steps_[step]->run(workspace, some);
                const auto spent = std::chrono::steady_clock::now() - before;
                network.state_->nanoseconds[step] +=
                    std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count();
            };
            for (int64_t c = next++; c < chunks; c = next++) {
                const int64_t some = std::min(chunk, count - c * chunk);
                workspace.pixels = images + c * chunk * image_bytes;
                workspace.many = many && some >= code.vertical_images;
                for (int64_t i = 0; i < some; ++i)
                    workspace.numbers[i] = numbers ? numbers[c * chunk + i] : c * chunk + i;
                for (size_t step = 0; step < shared; ++step) run_step(first, step, some);
                for (size_t n = 0; n < networks.size(); ++n) {
                    Network& network = *networks[n];
                    for (size_t step = shared; step < network.steps_.size(); ++step) run_step(network, step, some);
                    Buffer& last = workspace.buffers[static_cast<size_t>(network.steps_.back()->finish.out)];
                    arrange_values(last, false, workspace, some, code);
                    float* to = logits + (static_cast<int64_t>(n) * count + c * chunk) * classes;
                    for (int64_t i = 0; i < some; ++i)
                        memcpy(to + i * classes, last.values() + i * last.shape.stride(),
                               static_cast<size_t>(classes) * sizeof(float));
                }
            }
        }
    });
}

namespace {
std::mutex list_mutex;
std::map<int64_t, Network*> list;
int64_t last_number = 0;
}  // namespace

int64_t enlist(Network* network) {
    const std::lock_guard<std::mutex> guard(list_mutex);
    list[++last_number] = network;
    return last_number;
}

void strike(int64_t number) {
    const std::lock_guard<std::mutex> guard(list_mutex);
    list.erase(number);
}

Network* listed(int64_t number) {
    const std::lock_guard<std::mutex> guard(list_mutex);
    const auto found = list.find(number);
    return found == list.end() ? nullptr : found->second;
}

}  // namespace bnnkit::deploy
