// Which rows of an array two outputs add up, and with which weight. Included inside an instruction-set region after
// turned_patches.h.
//
// A cell of a slice counts what its planes and the dummy column make of it, a number from -15 to 15. Rows whose cells count the
// same power of two, upwards or downwards, are listed together; a row of 3 is in the lists of 1 and of 2, one of 0 in none.
// Of two neighbouring outputs, rows that both add are listed once: 3/4 of what their own lists would hold.
#pragma once

namespace bnnkit {
namespace {

class CellRows {
public:
    static constexpr int kMostPlanes = 4, kPowers = 4;
    static constexpr int kOutputs = 2, kShares = 3;  // rows of both outputs, of the first alone, of the second alone

    // Rows that count 2^power, or -2^power.
    struct Part {
        bool negative;
        int power;
    };

    // Whether there are cells, and those of every slice count so little.
    static bool can_list(const BitSerialArgs& args) {
        if (!args.planes || args.conv.geometry.out_channels == 0) return false;
        int plane = 0;
        for (int c = 0; c < args.slices; plane += args.slice_planes[c++]) {
            if (args.slice_planes[c] > kMostPlanes) return false;
            for (int levels = 0; levels < 1 << args.slice_planes[c]; ++levels)
                if (std::abs(value(args, c, plane, levels)) >= 1 << kPowers) return false;
        }
        return true;
    }

    CellRows(const BitSerialArgs& args, const BorderClasses& borders)
        : args_(args),
          words_(args.conv.layout.row_words()),
          array_words_(args.conv.layout.array_words()),
          arrays_(args.conv.layout.arrays()),
          slices_(slices_of(args)),
          parts_(parts_of(slices_)),
          pairs_(ceil_div(args.conv.geometry.out_channels, kOutputs)),
          capacity_(parts_ * (words_ * kWordBits + kShares * arrays_ * kBitsAtATime) + kListSlack),
          offsets_(pairs_ * capacity_ * int64_t{sizeof(int32_t)}),
          ends_(pairs_ * ends() * int64_t{sizeof(int32_t)}),
          reach_(static_cast<size_t>(pairs_)) {
        list(0, borders.mask(0));
        // Where large arrays are too large for a byte, the first outputs' mostly are: then nothing more is listed.
        for (const Reach& of_slice : reach_[0])
            if (!of_slice.fits_byte()) return;
        parallel_for(args.conv.threads, pairs_ - 1, [&](int64_t begin, int64_t end) {
            for (int64_t pair = begin + 1; pair < end + 1; ++pair) list(pair, borders.mask(0));
        });
    }

    const std::vector<Part>& parts(int slice) const { return slices_[static_cast<size_t>(slice)].parts; }

    // What a partial sum of a slice can be, over all outputs and arrays: from -down to up.
    struct Reach {
        int64_t down = 0, up = 0;

        void add(Part part, int64_t rows) { (part.negative ? down : up) += rows << part.power; }
        bool fits_byte() const { return down + up < 256; }
        void include(const Reach& other) { down = std::max(down, other.down), up = std::max(up, other.up); }
    };
    Reach reach(int slice) const {
        Reach most;
        for (const auto& of_pair : reach_) most.include(of_pair[static_cast<size_t>(slice)]);
        return most;
    }

    // The lists of two outputs' array, slice after slice, share after share, part after part: list i is offsets[ends[i - 1]] to
    // offsets[ends[i]], in words of turned patches, filled up with rows of zeros.
    struct Lists {
        const int32_t *offsets, *ends;
    };
    Lists of(int64_t pair, int64_t array) const {
        return {ints(offsets_) + pair * capacity_, ints(ends_) + pair * ends() + array * kShares * parts_ + 1};
    }

private:
    struct Slice {
        std::vector<Part> parts;
        std::vector<uint32_t> levels;  // of each part: bit l, whether cells of planes l are in it
        int first_plane, planes;
    };

    static int32_t* ints(const Scratch& scratch) { return reinterpret_cast<int32_t*>(scratch.data); }

    static int64_t value(const BitSerialArgs& args, int slice, int first_plane, int levels) {
        int64_t sum = args.dummy[slice];
        for (int p = 0; p < args.slice_planes[slice]; ++p)
            if ((levels >> p & 1) != 0) sum += args.plane_weight[first_plane + p];
        return sum;
    }

    static std::vector<Slice> slices_of(const BitSerialArgs& args) {
        std::vector<Slice> slices;
        int plane = 0;
        for (int c = 0; c < args.slices; plane += args.slice_planes[c++]) {
            Slice slice{{}, {}, plane, args.slice_planes[c]};
            for (bool negative : {true, false})  // what counts downwards comes first
                for (int power = 0; power < kPowers; ++power) {
                    uint32_t members = 0;
                    for (int levels = 0; levels < 1 << slice.planes; ++levels) {
                        const int64_t cell = value(args, c, plane, levels);
                        if ((cell < 0) == negative && (std::abs(cell) >> power & 1) != 0) members |= 1u << levels;
                    }
                    if (members != 0) slice.parts.push_back({negative, power}), slice.levels.push_back(members);
                }
            slices.push_back(slice);
        }
        return slices;
    }

    static int64_t parts_of(const std::vector<Slice>& slices) {
        size_t parts = 0;
        for (const Slice& slice : slices) parts += slice.parts.size();
        return static_cast<int64_t>(parts);
    }

    int64_t ends() const { return arrays_ * kShares * parts_ + 1; }

    // Rows of a word whose cells are in a part; none past the last output.
    uint64_t members(const Slice& slice, uint32_t levels, int64_t output, int64_t word, uint64_t used) const {
        const int64_t outputs = args_.conv.geometry.out_channels;
        if (output >= outputs) return 0;
        uint64_t found = 0;
        for (; levels != 0; levels &= levels - 1) {
            const int level = __builtin_ctz(levels);
            uint64_t rows = used;
            for (int p = 0; p < slice.planes; ++p) {
                const uint64_t plane = args_.planes[((slice.first_plane + p) * outputs + output) * words_ + word];
                rows &= (level >> p & 1) != 0 ? plane : ~plane;
            }
            found |= rows;
        }
        return found;
    }

    void list(int64_t pair, const uint64_t* used) {
        int32_t *const first = ints(offsets_) + pair * capacity_, *to = first;
        int32_t* end = ints(ends_) + pair * ends();
        *end++ = 0;
        for (int64_t array = 0; array < arrays_; ++array)
            for (size_t c = 0; c < slices_.size(); ++c) {
                const Slice& slice = slices_[c];
                Reach of_share[kShares];
                for (int share = 0; share < kShares; ++share)
                    for (size_t i = 0; i < slice.parts.size(); ++i) {
                        int32_t* const begin = to;
                        for (int64_t word = array * array_words_; word < (array + 1) * array_words_; ++word) {
                            const uint64_t own = members(slice, slice.levels[i], pair * kOutputs, word, used[word]);
                            const uint64_t next =
                                members(slice, slice.levels[i], pair * kOutputs + 1, word, used[word]);
                            const uint64_t rows = share == 0 ? own & next : share == 1 ? own & ~next : ~own & next;
                            to = list_rows(rows, word * kWordBits * TurnedPatches::kRowWords, to);
                        }
                        of_share[share].add(slice.parts[i], to - begin);
                        to = fill_list(begin, to, words_ * kWordBits * TurnedPatches::kRowWords);
                        *end++ = static_cast<int32_t>(to - first);
                    }
                for (int output = 1; output < kShares; ++output)
                    reach_[static_cast<size_t>(pair)][c].include(
                        {of_share[0].down + of_share[output].down, of_share[0].up + of_share[output].up});
            }
    }

    const BitSerialArgs& args_;
    int64_t words_, array_words_, arrays_;
    std::vector<Slice> slices_;
    int64_t parts_, pairs_, capacity_;
    Scratch offsets_, ends_;
    std::vector<std::array<Reach, kMaxSlices>> reach_;
};

}  // namespace
}  // namespace bnnkit
