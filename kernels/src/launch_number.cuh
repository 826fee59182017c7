// Which launch wrote a verdict: bits 8 to 31 of its flags, one more than what lay in its slot before, modulo
// 2^24. Who reads verdicts sees by it that a launch has written, so that nobody clears them before each.
#pragma once
#include "tile.cuh"

namespace edgeosr {

constexpr int kFlagsLane = 1;  // of the warp that writes a verdict, a word a lane

// What a warp's lane that writes the flags finds in their slot; asked for early, for it is waited for. All
// ones where launches have no numbers, for which a number of 0 follows.
EDGEOSR_DEVICE unsigned flags_before(FusedScoreParams const& p, int sample) {
    unsigned before = ~0u;
    if (p.numbered && lane_again() == kFlagsLane)
        before = bits_from_float(
            load_shared_by_blocks_f32(reinterpret_cast<float const*>(&p.verdicts[sample].flags)));
    return before;
}

EDGEOSR_DEVICE unsigned next_number(unsigned before) {
    return (before | kFlagBits) + 1u;
}

}  // namespace edgeosr
