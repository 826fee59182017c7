// The map on its way to shared memory. A chunk is 16 channels of one sample, one row of Q elements a channel;
// chunks are ordered by channel group, then sample, so that a group's table rows are read once a tile.
#pragma once
#include "block.cuh"

namespace edgeosr {

struct Chunk {
    unsigned char const* global;  // first element
    unsigned char* shared;        // where that element goes (channels first: at the same offset modulo 16)
    int sample;                   // of the tile
    int group;                    // of the slab
    int channels;                 // 1 .. 16; 0: all of them are padding
};

EDGEOSR_DEVICE unsigned offset_in_16(unsigned char const* address) {
    return static_cast<unsigned>(reinterpret_cast<unsigned long long>(address)) & 15u;
}

template <bool kHalf, bool kRowsFirst>
EDGEOSR_DEVICE Chunk
chunk_at(FusedScoreParams const& p, Block const& block, unsigned char* half, int number, int slot) {
    constexpr int kBytes = kHalf ? 2 : 4;
    Chunk chunk;
    chunk.group = number * block.inverse >> 16;
    chunk.sample = number - chunk.group * block.valid;
    int const channel = block.channel + chunk.group * kGroup;
    int const left = p.dimension - channel;
    chunk.channels = left < 0 ? 0 : smaller(left, kGroup);
    // Inputs have fewer than 2^31 elements.
    unsigned const element =
        static_cast<unsigned>(block.first + chunk.sample) * static_cast<unsigned>(p.sample_stride) +
        static_cast<unsigned>(kRowsFirst ? channel * p.positions : channel);
    chunk.global =
        static_cast<unsigned char const*>(p.input) + static_cast<unsigned long long>(element) * kBytes;
    chunk.shared = half + slot * p.chunk_bytes;
    if (kRowsFirst) chunk.shared += offset_in_16(chunk.global);
    return chunk;
}

// How warps share a half's chunks out: by as many groups of them as the plan has, a power of two.
struct Sharing {
    int sharers, threads;  // groups of warps; threads of one
    int share;             // the thread's group
    int place;             // and where in a whole chunk its first 16 bytes are: a warp has 1,024 in a row
};

EDGEOSR_DEVICE Sharing sharing(FusedScoreParams const& p) {
    int const bits = p.sharer_bits, sharers = 1 << bits;
    return {sharers,
            kThreads >> bits,
            held(warp_index() & (sharers - 1)),
            held((warp_index() >> bits) * 1024 + lane_index() * 16)};
}

EDGEOSR_DEVICE int thread_of(Sharing const& by) {  // its place in its group
    return (by.place >> 10) * 32 + lane_index();
}

// A group's threads copy `bytes` bytes, a multiple of 16, aligned to 16. Two copies behind one another, for
// the compiler puts three instructions before the first one.
EDGEOSR_DEVICE void stage_whole(unsigned char const* global,
                                unsigned char* shared,
                                int bytes,
                                Sharing const& by) {
    global += by.place;
    shared += by.place;
#pragma unroll 1
    for (int left = bytes - by.place; left > 0; left -= by.threads * 32) {
        copy_async_16(shared, global);
        if (left > 512) copy_async_16(shared + 512, global + 512);
        global += by.threads * 32;
        shared += by.threads * 32;
    }
}

// Threads `thread` of `threads` copy `bytes` bytes, kBytes aligned: 16 at a time, ends one element at a time.
template <bool kHalf>
EDGEOSR_DEVICE void stage_flat(
    unsigned char const* global, unsigned char* shared, int bytes, int thread, int threads) {
    constexpr int kBytes = kHalf ? 2 : 4;
    int const lead = smaller(static_cast<int>(-reinterpret_cast<unsigned long long>(global) & 15u), bytes);
    int const middle = (bytes - lead) & ~15;
    unsigned char const* from = global + lead + thread * 16;
    unsigned char* to = shared + lead + thread * 16;
#pragma unroll 1
    for (int left = middle - thread * 16; left > 0; left -= threads * 16) {
        copy_async_16(to, from);
        from += threads * 16;
        to += threads * 16;
    }
    int const ends = (bytes - middle) / kBytes;  // fewer than 16: the lead, then the tail
#pragma unroll 1
    for (int end = thread; end < ends; end += threads) {
        int const at = end * kBytes < lead ? end * kBytes : end * kBytes + middle;
        if (kHalf)
            shared_store_u16(shared + at, load_u16(global + at));
        else
            shared_store_u32(shared + at, load_u32(global + at));
    }
}

// Channels last: 16 bytes of one position are 8 (fp32: 4) channels; they are turned into rows on the way.
// row_pitch keeps the stores of a warp in different banks.
template <bool kHalf>
EDGEOSR_DEVICE void stage_turned(FusedScoreParams const& p, Chunk const& chunk, int thread, int threads) {
    constexpr int kBytes = kHalf ? 2 : 4;
    constexpr int kVector = 16 / kBytes;
    constexpr int kVectors = kGroup / kVector;  // of a position
    int const positions = p.positions;
    bool const aligned = ((reinterpret_cast<unsigned long long>(chunk.global) |
                           static_cast<unsigned long long>(p.position_stride) * kBytes) &
                          15u) == 0;
    if (aligned && chunk.channels == kGroup) {
#pragma unroll 1
        for (int item = thread; item < positions * kVectors; item += threads) {
            int const position = item / kVectors, channel = (item & (kVectors - 1)) * kVector;
            Words4 const words = load_16(
                chunk.global + (static_cast<long long>(position) * p.position_stride + channel) * kBytes);
            unsigned const word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                unsigned char* to = chunk.shared + ((channel + i) * p.row_pitch + position) * kBytes;
                if (kHalf)
                    shared_store_u16(to, static_cast<unsigned short>(word[i >> 1] >> (16 * (i & 1))));
                else
                    shared_store_u32(to, word[i & 3]);
            }
        }
        return;
    }
#pragma unroll 1
    for (int item = thread; item < positions * kGroup; item += threads) {
        int const position = item / kGroup, channel = item & (kGroup - 1);
        if (channel >= chunk.channels) continue;
        unsigned char const* from =
            chunk.global + (static_cast<long long>(position) * p.position_stride + channel) * kBytes;
        unsigned char* to = chunk.shared + (channel * p.row_pitch + position) * kBytes;
        if (kHalf)
            shared_store_u16(to, load_u16(from));
        else
            shared_store_u32(to, load_u32(from));
    }
}

// Rows of an fp16 chunk beyond D: zeros, for rows that are pooled by pairs must be finite for one another.
EDGEOSR_DEVICE void clear_rows(FusedScoreParams const& p, Chunk const& chunk, int thread, int threads) {
#pragma unroll 1
    for (int at = chunk.channels * p.row_pitch + thread; at < kGroup * p.row_pitch; at += threads)
        shared_store_u16(chunk.shared + at * 2, 0);
}

// Start the copies of chunks first .. first + count - 1 into one half.
template <bool kHalf, bool kRowsFirst>
EDGEOSR_DEVICE void stage_share(FusedScoreParams const& p,
                                Block const& block,
                                Sharing const& by,
                                unsigned char* half,
                                int first,
                                int count) {
    int const threads = by.threads;
#pragma unroll 1
    for (int slot = by.share; slot < count; slot += by.sharers) {
        Chunk const chunk = chunk_at<kHalf, kRowsFirst>(p, block, half, first + slot, slot);
        constexpr int kBytes = kHalf ? 2 : 4;
        // Old compilers have no registers for both ways.
        if (!kOldCompiler && kRowsFirst && chunk.channels == kGroup && offset_in_16(chunk.global) == 0) {
            stage_whole(chunk.global, chunk.shared, kGroup * kBytes * p.positions, by);
            continue;
        }
        int const thread = thread_of(by);
        if (kRowsFirst)
            stage_flat<kHalf>(
                chunk.global, chunk.shared, chunk.channels * p.positions * kBytes, thread, threads);
        else
            stage_turned<kHalf>(p, chunk, thread, threads);
        if (kHalf && EDGEOSR_TENSOR_CORES && chunk.channels < kGroup) clear_rows(p, chunk, thread, threads);
    }
}

template <bool kHalf>
EDGEOSR_DEVICE void stage_chunks(FusedScoreParams const& p,
                                 Block const& block,
                                 Sharing const& by,
                                 unsigned char* half,
                                 int first,
                                 int count) {
    if (p.layout == kLayoutChannelsFirst)
        stage_share<kHalf, true>(p, block, by, half, first, count);
    else
        stage_share<kHalf, false>(p, block, by, half, first, count);
}

}  // namespace edgeosr
