// Barriers, and what the lanes of a warp do together: syncwarp, ballot, shuffles, mma.
#include <cstdio>
#include <cstring>

#include "half.h"
#include "machine.h"
#include "primitives.h"

namespace simt {

namespace {

std::string hex(uint32_t mask) {
    char digits[16];
    std::snprintf(digits, sizeof digits, "%08x", mask);
    return digits;
}

Meeting& meeting_of(Warp& warp, uint32_t mask, Site const& site) {
    for (unsigned i = 0; i < warp.active; ++i) {
        Meeting& m = warp.meetings[i];
        if (m.arrived && m.mask == mask) return m;
        if (m.arrived && (m.mask & mask))
            fail(site,
                 "mask " + hex(mask) + " overlaps mask " + hex(m.mask) + ", whose lanes wait at " +
                     text(m.site));
    }
    for (unsigned i = 0;; ++i)
        if (i == warp.active || !warp.meetings[i].arrived) {
            if (i == warp.active) ++warp.active;
            Meeting& m = warp.meetings[i];
            m.mask = mask;
            m.arrived = 0;
            return m;
        }
}

/// Tensor cores add exact products and drop the low bits; the order and width are not documented. Here: the
/// sum in float64, cut toward zero.
float cut(double value) {
    auto rounded = static_cast<float>(value);
    if (value - value != 0.0) return rounded;
    if ((value > 0 && rounded > value) || (value < 0 && rounded < value)) {
        uint32_t bits;
        std::memcpy(&bits, &rounded, 4);
        --bits;  // one step toward zero, from infinity too
        std::memcpy(&rounded, &bits, 4);
    }
    return rounded;
}

/// D = A B + C of mma.sync.m16n8k16 or .m16n8k8 (k = 16 or 8), row.col, f16 in, f32 out, with the fragment
/// layouts of the PTX ISA ("Matrix Fragments for mma.m16n8k16 with floating point type", and .m16n8k8).
void multiply(Thread* lanes, int k) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        int const group = lane >> 2, pair = (lane & 3) * 2;
        uint32_t const* word = lanes[lane].operand;
        for (int r = 0; r < k / 4; ++r)  // a0: row g, a1: row g + 8; a2, a3 the same, 8 columns on
            for (int i = 0; i < 2; ++i)
                a[group + 8 * (r & 1)][pair + 8 * (r >> 1) + i] =
                    float_from_half(static_cast<uint16_t>(word[r] >> 16 * i));
        for (int r = 0; r < k / 8; ++r)  // b0: rows 2t, 2t + 1 of column g; b1: 8 rows on
            for (int i = 0; i < 2; ++i)
                b[pair + 8 * r + i][group] = float_from_half(static_cast<uint16_t>(word[4 + r] >> 16 * i));
    }
    double sum[16][8];
    for (auto& row : sum)
        for (double& s : row)
            s = 0;
    for (int row = 0; row < 16; ++row)
        for (int i = 0; i < k; ++i)
            for (int column = 0; column < 8; ++column)
                sum[row][column] += static_cast<double>(a[row][i]) * static_cast<double>(b[i][column]);
    for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 4; ++i) {  // c0, c1: row g, columns 2t, 2t + 1; c2, c3: row g + 8
            float c;
            std::memcpy(&c, &lanes[lane].operand[6 + i], 4);
            float const d =
                cut(sum[(lane >> 2) + 8 * (i >> 1)][(lane & 3) * 2 + (i & 1)] + static_cast<double>(c));
            std::memcpy(&lanes[lane].result[i], &d, 4);
        }
    ++machine.multiplications;
}

void complete(Meeting const& meeting, Thread* lanes) {
    ++machine.warp_operations;
    if (meeting.operation == WarpOperation::multiply) return multiply(lanes, meeting.variant);
    if (meeting.operation == WarpOperation::sync) {
        if (!machine.mail) return;
        Known all;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (meeting.mask >> lane & 1) all.learn(lanes[lane].known);
        for (unsigned lane = 0; lane < 32; ++lane)
            if (meeting.mask >> lane & 1) lanes[lane].known = all;
        return;
    }
    uint32_t votes = 0;
    if (meeting.operation == WarpOperation::ballot)
        for (unsigned lane = 0; lane < 32; ++lane)
            if ((meeting.mask >> lane & 1) && lanes[lane].operand[0]) votes |= 1u << lane;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(meeting.mask >> lane & 1)) continue;
        Thread& thread = lanes[lane];
        if (meeting.operation == WarpOperation::ballot) thread.result[0] = votes;
        if (meeting.operation == WarpOperation::shuffle) {
            uint32_t const source = thread.operand[1];
            if (source > 31 || !(meeting.mask >> source & 1)) {
                machine.current = &thread;
                fail(meeting.site,
                     "shuffle reads lane " + std::to_string(source) + ", which is not in mask " +
                         hex(meeting.mask));
            }
            thread.result[0] = lanes[source].operand[0];
        }
    }
}

/// Meet the other lanes of `mask`; operands are set, results are there afterwards.
void meet(uint32_t mask, WarpOperation operation, int variant, Site const& site) {
    Thread& me = *machine.current;
    unsigned const lane = me.linear % 32;
    Warp& warp = *me.warp;
    if (!(mask >> lane & 1))
        fail(site,
             "lane " + std::to_string(lane) + " calls a warp operation with mask " + hex(mask) +
                 " without itself");
    Thread* lanes = warp.lanes;
    unsigned const alive = machine.launch.threads - (me.linear - lane);
    if (alive < 32 && mask >> alive)
        fail(site, "mask " + hex(mask) + " names lanes that the block does not have");
    Meeting& meeting = meeting_of(warp, mask, site);
    if (!meeting.arrived) {
        meeting.operation = operation;
        meeting.variant = variant;
        meeting.site = site;
    } else if (!(meeting.site == site) || meeting.operation != operation || meeting.variant != variant) {
        fail(site,
             "lanes of mask " + hex(mask) + " are at different program points; the others wait at " +
                 text(meeting.site));
    }
    meeting.arrived |= 1u << lane;
    me.site = site;
#if defined(EDGEOSR_SIMT_TSAN)
    // syncwarp orders memory; shuffles, votes and mma do not, as CUDA documents.
    if (operation == WarpOperation::sync) __tsan_release(&warp);
#endif
    if (meeting.arrived == mask) {
        complete(meeting, lanes);
        meeting.arrived = 0;
        for (unsigned i = 0; i < 32; ++i)
            if (mask >> i & 1) {
                if (mask == 0xffffffffu) ++lanes[i].synchronisations;
                if (i != lane) wake(lanes[i]);
            }
    } else {
        me.state = State::in_warp_operation;
        suspend();
    }
#if defined(EDGEOSR_SIMT_TSAN)
    if (operation == WarpOperation::sync) __tsan_acquire(&warp);
#endif
}

}  // namespace

void block_barrier(Site site) {
    Thread& me = *machine.current;
    me.site = site;
    me.state = State::at_barrier;
    ++me.block->at_barrier;
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_release(me.block);
#endif
    suspend();
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_acquire(me.block);
#endif
}

void warp_barrier(uint32_t mask, Site site) {
    meet(mask, WarpOperation::sync, 0, site);
}

uint32_t warp_ballot(uint32_t mask, bool vote, Site site) {
    machine.current->operand[0] = vote;
    meet(mask, WarpOperation::ballot, 0, site);
    return machine.current->result[0];
}

uint32_t warp_shuffle(uint32_t mask, uint32_t value, uint32_t source_lane, Site site) {
    machine.current->operand[0] = value;
    machine.current->operand[1] = source_lane;
    meet(mask, WarpOperation::shuffle, 0, site);
    return machine.current->result[0];
}

void warp_multiply(float* d, uint32_t const* a, uint32_t const* b, float const* c, int k, Site site) {
    uint32_t* operand = machine.current->operand;
    std::memcpy(operand, a, static_cast<size_t>(k));
    std::memcpy(operand + 4, b, static_cast<size_t>(k / 2));
    std::memcpy(operand + 6, c, 16);
    meet(0xffffffffu, WarpOperation::multiply, k, site);
    std::memcpy(d, machine.current->result, 16);
}

}  // namespace simt
