// Small kernels whose blocks send one another mail, rightly and wrongly. test_simt_clusters.py runs them.
#include "cluster.cuh"
#include "harness.h"

struct Probe {
    void const* in;
    void* out;
    uint32_t* workspace;  // [0]: a counter; the rest: partial results
    int choice;
};

using namespace edgeosr;

#define PROBE_KERNEL(name) EDGEOSR_KERNEL(name)(Probe p)

namespace {

constexpr int kBlocks = 8, kThreads = 64;  // of a cluster, of a block

/// Mailboxes lie first in shared memory, then words.
Mailbox* mailbox(int number) {
    return reinterpret_cast<Mailbox*>(shared_memory()) + number;
}
unsigned* word(int number) {
    return reinterpret_cast<unsigned*>(shared_memory() + 64) + number;
}

/// Thread 0 opens mailboxes for so many words each.
void open(unsigned first, unsigned second = 0, unsigned third = 0) {
    if (thread_index() > 0) return;
    open_mailbox(mailbox(0), 4 * first);
    if (second) open_mailbox(mailbox(1), 4 * second);
    if (third) open_mailbox(mailbox(2), 4 * third);
}

/// One word from thread 0 of each block to each block of a cluster of `size`, from word `at` on.
void send_to_all(int size, int number, int at, unsigned value) {
    for (int rank = 0; rank < size; ++rank)
        send(word(at + cluster_rank()), value, mailbox(number), rank);
}

}  // namespace

/// Three rounds: a word of each block to each, then twice a word of each thread to each block. What comes is
/// added up and sent on.
PROBE_KERNEL(exchange) {
    int const t = thread_index(), rank = cluster_rank();
    unsigned* const rounds[3] = {word(0), word(kBlocks), word(kBlocks + kBlocks * kThreads)};
    open(kBlocks, kBlocks * kThreads, kBlocks * kThreads);
    // The block's own business, at its own pace.
    unsigned* const scratch = word(kBlocks + 2 * kBlocks * kThreads);
    shared_store_u32(scratch + t, static_cast<unsigned>(block_index() * 7 + t));
    for (int pause = 0; pause < block_index() % 3; ++pause)
        block_sync();
    block_sync();
    unsigned const given = shared_load_u32(scratch);
    cluster_sync();
    if (t < kBlocks) send(rounds[0] + rank, given, mailbox(0), t);
    wait_for_mail(mailbox(0));
    unsigned sum = static_cast<unsigned>(t);
    for (int from = 0; from < kBlocks; ++from)
        sum += shared_load_u32(rounds[0] + from);
    for (int round = 1; round < 3; ++round) {
        for (int to = 0; to < kBlocks; ++to)
            send(rounds[round] + rank * kThreads + t,
                 sum * 3 + static_cast<unsigned>(rank),
                 mailbox(round),
                 to);
        wait_for_mail(mailbox(round));
        sum = 0;
        for (int from = 0; from < kBlocks; ++from)
            sum += shared_load_u32(rounds[round] + from * kThreads + (kThreads - 1 - t)) *
                   (static_cast<unsigned>(from) + 1);
    }
    static_cast<unsigned*>(p.out)[block_index() * kThreads + t] = sum;
}

/// Two blocks. Rank 0 sends eight words with one mailbox, then one with another; rank 1, which has the
/// latter, says which of the eight have come. It looks without the checked loads.
PROBE_KERNEL(peek) {
    open(8, 1);
    cluster_sync();
    if (thread_index() == 0 && cluster_rank() == 0)
        for (int number = 0; number < 9; ++number)
            for (int rank = 0; rank < 2; ++rank)
                send(word(number), 1, mailbox(number == 8), rank);
    wait_for_mail(mailbox(1));
    for (int number = 0; number < 8 && thread_index() == 0 && cluster_rank() == 1; ++number)
        static_cast<unsigned*>(p.out)[number] = *static_cast<unsigned volatile*>(word(number));
    wait_for_mail(mailbox(0));
    if (thread_index() < 8 && cluster_rank() == 1)
        static_cast<unsigned*>(p.out)[8 + thread_index()] = shared_load_u32(word(thread_index()));
}

/// One misuse per choice. Two blocks, each sends thread 0's word to both.
PROBE_KERNEL(misuse) {
    int const t = thread_index(), rank = cluster_rank(), choice = p.choice;
    auto* const out = static_cast<unsigned*>(p.out);
    if (t == 0) {
        if (choice != 0 && choice != 1)
            open_mailbox(mailbox(0), choice == 28 ? 1u << 20 : choice == 11 ? 4 : 8);
        if (choice == 2) open_mailbox(mailbox(0), 8);
        if (choice == 3) open_mailbox(reinterpret_cast<Mailbox*>(shared_memory() + 12), 8);
        if (choice == 4) open_mailbox(reinterpret_cast<Mailbox*>(shared_memory() + 1024), 8);
        open_mailbox(mailbox(1), 8);
    }
    if (choice == 16 && t == 63 && rank == 1) return;
    if (choice == 14 && rank == 1) return;
    if (choice == 17 && t >= 32) wait_for_mail(mailbox(0));
    if (choice == 6 && t == 0) send_to_all(2, 0, 0, 1);
    if (choice == 27) block_sync();
    if (choice == 27 && t >= 32) wait_for_mail(mailbox(0));
    if (choice == 26 && lane_index() < 16)
        cluster_sync();
    else
        cluster_sync();
    if (choice == 5 && t == 0) open_mailbox(mailbox(2), 8);
    if (choice == 15) cluster_sync();
    if (choice == 1) wait_for_mail(mailbox(0));
    if (choice == 18 && t == 0 && rank == 0) send_to_all(2, 0, 0, 1);  // and rank 1 does not
    if (choice == 30 && t >= 32) block_sync();  // before its words, for which the others wait
    if (choice != 18 && t == (choice == 30 ? 32 : 0)) {
        send_to_all(2, 0, choice == 8 ? 240 : 0, 1);
        if (choice == 7) send(word(4), 1, mailbox(1), 2);
        if (choice == 32) send(word(4), 1, mailbox(1), -1);
        if (choice == 9) send(shared_memory() + 66, 1, mailbox(1), 0);
        if (choice == 22) send(mailbox(2), 1, mailbox(1), rank), send(mailbox(0), 1, mailbox(1), rank);
        if (choice == 23) send(word(rank), 1, mailbox(1), 0);
        if (choice == 33) send(word(5), 1, reinterpret_cast<Mailbox*>(shared_memory() + 4), 0);
        for (int to = 0; to < 2; ++to)
            send(word(2 + rank), 1, mailbox(1), to);
    }
    if (choice == 12) return;
    if (choice == 13 && rank == 1) return;
    if (choice == 29 && t == 40) return;
    if (choice == 35 && t == 40)
        wait_for_mail(mailbox(1));
    else
        wait_for_mail(mailbox(choice == 37 && t == 40 ? 0 : 1));
    if (choice == 19 && rank == 1) out[t] = shared_load_u32(word(0));
    if (choice == 20 && rank == 1) shared_store_x2(word(0), Floats2{});
    if (choice == 21) out[t] = shared_load_u16(mailbox(1));
    if (choice == 34 && rank == 1 && t == 0) copy_async_16(word(0), p.in);
    if (choice == 36) return;
    if (choice == 31 && t >= 32) shuffle(0, 0);  // no barrier
    if (choice != 31 || t < 32) wait_for_mail(mailbox(0));
    if (choice == 31) out[t] = shared_load_u32(word(0));
    if (choice == 10 && rank == 0 && t == 63) send(word(0), 1, mailbox(0), 1);
    out[t] = 1;
}

/// Lawful waits. Warp 0 waits for the second mailbox, the first, and the second once more, warp 1 for the
/// first alone; it takes what the second brought from a barrier.
PROBE_KERNEL(any_order) {
    int const t = thread_index();
    open(2, 2);
    cluster_sync();
    for (int number = 0; number < 2 && t == 40; ++number)
        send_to_all(2, number, 2 * number, static_cast<unsigned>(cluster_rank() + 3 * number + 1));
    if (t < 32) wait_for_mail(mailbox(1));
    wait_for_mail(mailbox(0));
    if (t < 32) wait_for_mail(mailbox(1));
    unsigned const mine = shared_load_u32(word(t % 2));
    if (p.choice == 1)
        group_sync(3, kThreads);
    else
        block_sync();
    static_cast<unsigned*>(p.out)[block_index() * kThreads + t] =
        mine + 10 * shared_load_u32(word(2 + t % 2));
}

/// Each of 8 blocks leaves one partial result; blocks of the cluster whose block counts last add them. Its
/// thread 0, which counted, mails that it was last. choice 1: another thread mails it, after a barrier; 2:
/// nobody counts, but all fence and mail.
PROBE_KERNEL(mailed_flag) {
    int const t = thread_index(), size = kBlocks / 2, choice = p.choice;
    auto* partial = reinterpret_cast<float*>(p.workspace + 1);
    open(static_cast<unsigned>(size));
    cluster_sync();
    store_f32(partial + block_index() * kThreads + t, static_cast<float>(block_index() + t + 1));
    block_sync();
    unsigned last = 0;
    if (t == 0) thread_fence();
    if (t == 0 && choice != 2) last = atomic_increment(p.workspace, kBlocks - 1) == kBlocks - 1;
    if (choice == 2) last = 1;
    if (choice == 1) {
        if (t == 0) shared_store_u32(word(kBlocks), last);
        block_sync();
        last = shared_load_u32(word(kBlocks));
    }
    if (t == (choice == 1 ? 31 : 0)) send_to_all(size, 0, 0, last);
    wait_for_mail(mailbox(0));
    unsigned any_last = 0;
    for (int from = 0; from < size; ++from)
        any_last |= shared_load_u32(word(from));
    if (!any_last) return;
    float sum = 0;
    for (int b = 0; b < kBlocks; ++b)
        sum += load_shared_by_blocks_f32(partial + b * kThreads + t);
    store_f32(static_cast<float*>(p.out) + block_index() * kThreads + t, sum);
}

/// Clusters of 4 of 8 blocks. Each block leaves its partial results before cluster_sync. Behind it, choice 0:
/// adds those of its cluster; 1: the last cluster to count adds all that there are, which rank 0 of each
/// fenced for its cluster; 2: reads the other cluster's; 3: stores over those of the next block.
PROBE_KERNEL(joined) {
    int const t = thread_index(), rank = cluster_rank(), size = kBlocks / 2;
    int const first = block_index() - rank;
    auto* partial = reinterpret_cast<float*>(p.workspace + 1);
    store_f32(partial + block_index() * kThreads + t, static_cast<float>(block_index() + t + 1));
    cluster_sync();
    if (p.choice == 3) {
        store_f32(partial + (first + (rank + 1) % size) * kThreads + t, -static_cast<float>(block_index()));
        return;
    }
    int begin = first, end = first + size;
    if (p.choice == 1) {
        if (rank > 0) return;
        if (t == 0) {
            thread_fence();
            shared_store_u32(word(0), atomic_increment(p.workspace, 1));
        }
        block_sync();
        if (shared_load_u32(word(0)) == 0) return;
        begin = 0, end = kBlocks;
    }
    if (p.choice == 2) begin = size - first, end = kBlocks - first;
    float sum = 0;
    for (int b = begin; b < end; ++b)
        sum += load_shared_by_blocks_f32(partial + b * kThreads + t);
    store_f32(static_cast<float*>(p.out) + block_index() * kThreads + t, sum);
}

/// Two blocks. Rank 0 publishes and counts, then rank 1 stores, fences and counts; then rank 0 fences. choice
/// 1: rank 0 counts again before. What says that it is its turn is mail of another thread, which orders
/// nothing.
PROBE_KERNEL(late_fence) {
    int const t = thread_index(), rank = cluster_rank();
    auto* const value = reinterpret_cast<float*>(p.workspace + 1);
    open(1, 1);
    cluster_sync();
    if (t == 0 && rank == 0) {
        store_f32(value + 1, 8.0f);
        thread_fence();
        simt::atomic_increment(p.workspace, 100, Site::here());
        for (int to = 0; to < 2; ++to)
            send(word(0), 1, mailbox(0), to);
    }
    wait_for_mail(mailbox(0));
    if (t == 0 && rank == 1) {
        store_f32(value, 7.0f);
        thread_fence();
        atomic_increment(p.workspace, 100);
    }
    if (t < 32) shuffle(0, 0);
    for (int to = 0; to < 2 && t == 31 && rank == 1; ++to)
        send(word(1), 1, mailbox(1), to);
    wait_for_mail(mailbox(1));
    if (t > 0 || rank > 0) return;
    if (p.choice == 1) simt::atomic_increment(p.workspace, 100, Site::here());
    thread_fence();
    auto* const out = static_cast<float*>(p.out);
    store_f32(out, load_shared_by_blocks_f32(value));
    store_f32(out + 1, load_shared_by_blocks_f32(reinterpret_cast<float*>(p.workspace)));
}

/// Two blocks; a place of mail is used before. choice 0: before the receiver's own mail to the sender, which
/// waits for it; 1: at any time before the wait.
PROBE_KERNEL(place_used_before) {
    int const t = thread_index(), rank = cluster_rank();
    open(2, 2 * kThreads);
    cluster_sync();
    if (p.choice == 0) {
        shared_store_u32(word(8 + t), 1);
        block_sync();
    }
    if (t == 0) send_to_all(2, 0, 0, 1);
    wait_for_mail(mailbox(0));
    if (p.choice == 1 && rank == 1) shared_store_u32(word(8 + t), 1);
    for (int to = 0; to < 2; ++to)
        send(word(8 + rank * kThreads + t), static_cast<unsigned>(t), mailbox(1), to);
    wait_for_mail(mailbox(1));
    static_cast<unsigned*>(p.out)[block_index() * kThreads + t] = shared_load_u32(word(8 + kThreads - 1 - t));
}

/// Clusters whose first exchange says so end there.
PROBE_KERNEL(early_end) {
    int const t = thread_index();
    open(kBlocks);
    cluster_sync();
    if (t == 0) send_to_all(kBlocks, 0, 0, static_cast<unsigned>(block_index()));
    wait_for_mail(mailbox(0));
    if (shared_load_u32(word(0)) != 8) return;
    static_cast<unsigned*>(p.out)[block_index() * kThreads + t] = shared_load_u32(word(t % kBlocks));
}

/// Two blocks whose first warps send three rounds, the third to the places of the first; the other warps do
/// nothing. Who sends the third round knows that every reader of the first is done, whatever other warps do.
PROBE_KERNEL(places_again) {
    int const t = thread_index(), rank = cluster_rank();
    unsigned sum = 0;
    open(2 * 32, 2 * 32, 2 * 32);
    cluster_sync();
    for (int round = 0; round < 3; ++round) {
        unsigned* const places = word(round % 2 * 64);
        for (int to = 0; to < 2 && t < 32; ++to)
            send(places + rank * 32 + t, sum + static_cast<unsigned>(t + round), mailbox(round), to);
        if (t >= 32) continue;
        wait_for_mail(mailbox(round));
        sum = shared_load_u32(places + t) + shared_load_u32(places + 63 - t);
        warp_sync();
    }
    if (t < 32) static_cast<unsigned*>(p.out)[rank * 32 + t] = sum;
}

/// Two blocks that meet at eight barriers of their own; after each they note who it was.
PROBE_KERNEL(pace) {
    static unsigned next;  // of all launches: the array is filled once a launch
    for (int step = 0; step < 8; ++step) {
        block_sync();
        if (thread_index() == 0)
            static_cast<unsigned*>(p.out)[next++ % 16] = static_cast<unsigned>(block_index());
    }
}

/// No mail: every block stores to the workspace and to shared memory, with conflicts.
PROBE_KERNEL(traffic) {
    auto* partial = reinterpret_cast<float*>(p.workspace + 1);
    int const t = thread_index();
    shared_store_f32(word(8 * t % 128), 1.0f);
    block_sync();
    store_f32(partial + block_index() * kThreads + t, shared_load_f32(word(0)));
    block_sync();
    float const back = load_shared_by_blocks_f32(partial + block_index() * kThreads + (t ^ 1));
    store_f32(static_cast<float*>(p.out) + block_index() * kThreads + t, back);
}

simt::Entry const simt::entries[] = {EDGEOSR_SIMT_ENTRY(exchange, Probe),
                                     EDGEOSR_SIMT_ENTRY(peek, Probe),
                                     EDGEOSR_SIMT_ENTRY(misuse, Probe),
                                     EDGEOSR_SIMT_ENTRY(any_order, Probe),
                                     EDGEOSR_SIMT_ENTRY(mailed_flag, Probe),
                                     EDGEOSR_SIMT_ENTRY(joined, Probe),
                                     EDGEOSR_SIMT_ENTRY(place_used_before, Probe),
                                     EDGEOSR_SIMT_ENTRY(early_end, Probe),
                                     EDGEOSR_SIMT_ENTRY(places_again, Probe),
                                     EDGEOSR_SIMT_ENTRY(late_fence, Probe),
                                     EDGEOSR_SIMT_ENTRY(pace, Probe),
                                     EDGEOSR_SIMT_ENTRY(traffic, Probe),
                                     {nullptr, nullptr, 0}};
