// One call. Included inside an instruction-set region after both engines.
#pragma once

namespace bnnkit {
namespace {

inline void run_bit_serial(const BitSerialArgs& args) {
    const Prepared prepared(args, kLaneOutputs);
    const BorderClasses borders(args.conv.geometry, args.conv.layout);
    if (args.planes)
        for_each_tile(args.conv, borders, CountingEngine(prepared), BitWriter{args});
    else
        for_each_tile(args.conv, borders, AnalogEngine(prepared), BitWriter{args});
}

}  // namespace
}  // namespace bnnkit
