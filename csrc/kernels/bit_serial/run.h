// One call, without adding side by side. Included inside an instruction-set region after the engines of count.h and analog.h.
#pragma once

namespace bnnkit {
namespace {

inline void run_by_counting(const BitSerialArgs& args) {
    const Prepared prepared(args, kLaneOutputs);
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    if (args.planes)
        for_each_tile(args.conv, borders, CountingEngine(prepared), BitWriter{args});
    else
        for_each_tile(args.conv, borders, AnalogEngine(prepared), BitWriter{args});
}

}  // namespace
}  // namespace bnnkit
