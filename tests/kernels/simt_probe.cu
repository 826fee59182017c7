// Small kernels that use each primitive of the shim, rightly and wrongly. test_simt_shim.py runs them.
#include "harness.h"
#include "simt.h"

struct Probe {
    void const* in;
    void* out;
    uint32_t* workspace;  // [0]: a counter; the rest: partial results
    int choice;
};

using namespace edgeosr;

#define PROBE_KERNEL(name) EDGEOSR_KERNEL(name)(Probe p)

PROBE_KERNEL(indices) {
    static_cast<unsigned*>(p.out)[block_index() * 96 + thread_index()] =
        static_cast<unsigned>(block_index() << 16 | warp_index() << 8 | lane_index());
}

/// Every thread notes when it ran; the order shows the schedule.
PROBE_KERNEL(order) {
    static unsigned next;  // of all launches: the array is filled once a launch
    static_cast<unsigned*>(p.out)[next++ % 256] = static_cast<unsigned>(block_index() << 16 | thread_index());
}

/// choice 0: ballot; 1: shuffle from a lane given in `in`; 2: any; 3: shuffle_xor of floats; 4: of ints.
PROBE_KERNEL(votes) {
    auto const* in = static_cast<unsigned const*>(p.in);
    auto* out = static_cast<unsigned*>(p.out);
    int const t = thread_index();
    if (p.choice == 0) out[t] = ballot(in[t] != 0);
    if (p.choice == 1) out[t] = shuffle(static_cast<unsigned>(t) * 100, static_cast<int>(in[t]));
    if (p.choice == 2) out[t] = any(in[t] != 0);
    if (p.choice == 3) out[t] = static_cast<unsigned>(shuffle_xor(0.5f * static_cast<float>(t), 5) * 2.0f);
    if (p.choice == 4) out[t] = static_cast<unsigned>(-shuffle_xor(-t, 16));
}

/// One misuse per choice.
PROBE_KERNEL(misuse) {
    auto* out = static_cast<unsigned*>(p.out);
    auto const* in = static_cast<unsigned char const*>(p.in);
    int const t = thread_index();
    float c[4] = {};
    switch (p.choice) {
        case 0:  // a lane that is not in its mask
            simt::warp_barrier(0x7fffffffu, Site::here());
            break;
        case 1:  // lanes of the mask that never come
            if (lane_index() < 8) warp_sync();
            break;
        case 2:  // a source outside the mask
            if (lane_index() < 8) out[t] = simt::warp_shuffle(0xffu, 1, 8, Site::here());
            break;
        case 3:  // overlapping masks
            simt::warp_barrier(lane_index() < 16 ? 0xffffu : kWholeWarp, Site::here());
            break;
        case 4:  // two calls
            if (lane_index() < 16)
                out[t] = ballot(true);
            else
                out[t] = ballot(false);
            break;
        case 5:  // a barrier for some threads of the block
            if (t < 33) block_sync();
            break;
        case 6:  // two barriers of one branch
            if (t < 32)
                block_sync();
            else
                block_sync();
            break;
        case 7:  // cp.async without a wait
            copy_async_16(shared_memory() + 16 * t, in);
            copy_async_commit();
            break;
        case 8:  // cp.async from an address that is not a multiple of 16
            copy_async_16(shared_memory() + 16 * t, in + 4);
            break;
        case 9:  // a vector load from such an address
            out[t] = load_16(in + 8).x;
            break;
        case 10:  // a read-only load of what the kernel writes
            out[t] = load_u32(p.workspace);
            break;
        case 11:  // half a warp at a matrix product
            if (lane_index() < 16) mma_f16(c, Words4{}, 0, 0);
            break;
        case 12:  // past the end of shared memory
            shared_store_f32(shared_memory() + 1024, 1.0f);
            break;
        case 13:  // before its start
            out[t] = shared_load_u16(shared_memory() - 2);
            break;
        case 14:  // a misaligned shared vector
            shared_store_x2(shared_memory() + 4, Floats2{});
            break;
        case 15:  // a global store to shared memory
            store_f32(reinterpret_cast<float*>(shared_memory()), 1.0f);
            break;
    }
}

/// choice 0: reads before it writes; 1: writes, waits at the barrier, and reads what another thread wrote;
/// 2: the same without the barrier; 3: with the warps' barrier only (the other thread is of the same warp).
PROBE_KERNEL(shared_words) {
    auto* out = static_cast<float*>(p.out);
    auto* words = reinterpret_cast<float*>(shared_memory());
    int const t = thread_index(), other = p.choice == 3 ? t ^ 31 : 63 - t;
    if (p.choice) shared_store_f32(words + t, static_cast<float>(t));
    if (p.choice == 1) block_sync();
    if (p.choice == 3) warp_sync();
    store_f32(out + block_index() * 64 + t, shared_load_f32(words + other));
}

/// Every width of shared access: what is stored is what is loaded.
PROBE_KERNEL(shared_widths) {
    auto* out = static_cast<float*>(p.out) + 12 * thread_index();
    unsigned char* own = shared_memory() + 48 * thread_index();
    auto const t = static_cast<float>(thread_index());
    shared_store_x4(own, Floats4{t, t + 1, t + 2, t + 3});
    shared_store_x2(own + 16, Floats2{t + 4, t + 5});
    shared_store_u32(own + 24, bits_from_float(t + 6));
    shared_store_u16(own + 28, half_from_float(7));
    shared_store_u16(own + 30, half_from_float(8));
    Floats4 const four = shared_load_x4(own);
    float const loaded[9] = {four.x,
                             four.y,
                             four.z,
                             four.w,
                             shared_load_f32(own + 16),
                             shared_load_f32(own + 20),
                             float_from_bits(shared_load_u32(own + 24)),
                             float_from_half(shared_load_u16(own + 28)),
                             float_from_half(shared_load_u16(own + 30))};
    for (int i = 0; i < 9; ++i)
        store_f32(out + i, loaded[i]);
}

/// Three groups of 16 bytes. choice: groups that may still be pending (0 to 3) when the thread reads all.
PROBE_KERNEL(asynchronous_copies) {
    auto const* in = static_cast<float const*>(p.in) + 12 * thread_index();
    auto* out = static_cast<float*>(p.out) + 12 * thread_index();
    auto* stage = reinterpret_cast<float*>(shared_memory()) + 12 * thread_index();
    for (int i = 0; i < 12; i += 4) {
        copy_async_16(stage + i, in + i);
        copy_async_commit();
    }
    if (p.choice == 0) copy_async_wait<0>();
    if (p.choice == 1) copy_async_wait<1>();
    if (p.choice == 2) copy_async_wait<2>();
    for (int i = 0; i < 12; ++i)
        out[i] = shared_load_f32(stage + i);
    copy_async_wait<0>();
}

/// D [16, 8] = A [16, 16] B [16, 8] + C with fragments as the PTX ISA words them: element i of a thread's a
/// is at row group (i < 2 or 4 <= i < 6) or group + 8, column 2 thread_in_group + (i & 1), 8 on from i = 4;
/// of its b at row 2 thread_in_group + (i & 1), 8 on from i = 2, column group.
PROBE_KERNEL(matrix_product) {
    auto const* a_matrix = static_cast<uint16_t const*>(p.in);
    uint16_t const* b_matrix = a_matrix + 16 * 16;
    auto* matrix = static_cast<float*>(p.out);
    int const group = thread_index() >> 2, member = thread_index() & 3;
    uint16_t a[8], b[4];
    for (int i = 0; i < 8; ++i) {
        int const row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
        a[i] = a_matrix[row * 16 + member * 2 + (i & 1) + (i >= 4 ? 8 : 0)];
    }
    for (int i = 0; i < 4; ++i)
        b[i] = b_matrix[(member * 2 + (i & 1) + (i >= 2 ? 8 : 0)) * 8 + group];
    unsigned b_words[2];
    std::memcpy(b_words, b, sizeof b);
    float c[4];
    for (int i = 0; i < 4; ++i)
        c[i] = matrix[(i < 2 ? group : group + 8) * 8 + member * 2 + (i & 1)];
    mma_f16(c, same_bits<Words4>(a), b_words[0], b_words[1]);
    for (int i = 0; i < 4; ++i)
        matrix[(i < 2 ? group : group + 8) * 8 + member * 2 + (i & 1)] = c[i];
}

/// Each of 5 blocks leaves one partial result; the last one to come adds them. Bits of choice: 1 no fence
/// after the store, 2 no fence after the counter, 4 a fence before the store, 8 no barrier before the fence.
PROBE_KERNEL(last_block) {
    int const t = thread_index();
    auto* partial = reinterpret_cast<float*>(p.workspace + 1);
    if ((p.choice & 4) && t == 0) thread_fence();
    store_f32(partial + block_index() * 64 + t, static_cast<float>(block_index() + t + 1));
    if (!(p.choice & 8)) block_sync();
    if (t == 0) {
        if (!(p.choice & 1)) thread_fence();
        shared_store_u32(shared_memory(), simt::atomic_increment(p.workspace, 4, simt::Site::here()));
        if (!(p.choice & 2)) thread_fence();
    }
    block_sync();
    if (shared_load_u32(shared_memory()) != 4) return;
    float sum = 0;
    for (int b = 0; b < 5; ++b)
        sum += load_shared_by_blocks_f32(partial + b * 64 + t);
    store_f32(static_cast<float*>(p.out) + t, sum);
}

/// choice 0: to float; 1: to half.
PROBE_KERNEL(halves) {
    int const i = block_index() * 1024 + thread_index();
    if (p.choice == 0)
        static_cast<float*>(p.out)[i] = float_from_half(static_cast<uint16_t const*>(p.in)[i]);
    else
        static_cast<uint16_t*>(p.out)[i] = half_from_float(static_cast<float const*>(p.in)[i]);
}

/// One warp; each choice is an access pattern whose cost is known.
PROBE_KERNEL(traffic) {
    auto const* in = static_cast<float const*>(p.in);
    auto* shared = reinterpret_cast<float*>(shared_memory());
    int const t = thread_index();
    float sum = 0;
    if (p.choice == 0) sum = load_f32(in + t);      // neighbours
    if (p.choice == 1) sum = load_f32(in + 8 * t);  // a sector a lane
    if (p.choice == 2) sum = float_from_bits(load_16(in + 4 * t).y);
    if (p.choice == 3)  // two rounds of a loop, the second by half the lanes
        for (int i = t; i < 48; i += 32)
            sum += load_f32(in + i);
    if (p.choice == 4) shared_store_f32(shared + t, 1);       // each lane its bank
    if (p.choice == 5) shared_store_f32(shared + 32 * t, 1);  // all lanes in one bank
    if (p.choice == 6) {                                      // one word for all
        shared_store_f32(shared + t, 1);
        block_sync();
        sum = shared_load_f32(shared + 5);
    }
    if (p.choice == 7) shared_store_x4(shared + 4 * t, Floats4{});  // four groups of eight lanes
    if (p.choice == 8) shared_store_x4(shared + 8 * t, Floats4{});  // each group twice
    if (p.choice == 9) {
        copy_async_16(shared + 4 * t, in + 4 * t);
        copy_async_commit();
        copy_async_wait<0>();
    }
    store_f32(static_cast<float*>(p.out) + t, sum);
}

simt::Entry const simt::entries[] = {EDGEOSR_SIMT_ENTRY(indices, Probe),
                                     EDGEOSR_SIMT_ENTRY(order, Probe),
                                     EDGEOSR_SIMT_ENTRY(votes, Probe),
                                     EDGEOSR_SIMT_ENTRY(misuse, Probe),
                                     EDGEOSR_SIMT_ENTRY(shared_words, Probe),
                                     EDGEOSR_SIMT_ENTRY(shared_widths, Probe),
                                     EDGEOSR_SIMT_ENTRY(asynchronous_copies, Probe),
                                     EDGEOSR_SIMT_ENTRY(matrix_product, Probe),
                                     EDGEOSR_SIMT_ENTRY(last_block, Probe),
                                     EDGEOSR_SIMT_ENTRY(halves, Probe),
                                     EDGEOSR_SIMT_ENTRY(traffic, Probe),
                                     {nullptr, nullptr, 0}};
