// A small kernel that exchanges words over three mailboxes among the 8 blocks of a cluster; test_clusters.py
// runs its machine code. 64 threads, two warps. in [blocks, 64] -> out [blocks, 64].
#include "cluster.cuh"

using namespace edgeosr;

constexpr int kThreads = 64, kBlocks = 8;
// Bytes in shared memory: what each mailbox counts, then the mailboxes.
constexpr int kFirst = 0, kTurned = 32, kAll = 512, kMailboxes = 4096;

// Cluster `last` goes on after the first exchange, the others end there.
extern "C" __global__ void __launch_bounds__(kThreads) exchange(unsigned const* in, unsigned* out, int last) {
    extern __shared__ __align__(16) unsigned char shared[];
    auto* const mailbox = reinterpret_cast<Mailbox*>(shared + kMailboxes);
    auto* const first = reinterpret_cast<unsigned*>(shared + kFirst);
    auto* const turned = reinterpret_cast<unsigned*>(shared + kTurned);
    auto* const all = reinterpret_cast<unsigned*>(shared + kAll);
    int const thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
    // Two ways to open one, of which the compiler makes two kinds of code: by one thread, by several at once.
    if (thread == 0) open_mailbox(mailbox, 4 * kBlocks);
    if (thread == 1 || thread == 2)
        open_mailbox(mailbox + thread, 4 * kThreads * (thread == 1 ? 1 : kBlocks));
    cluster_sync();
    unsigned const mine = in[block * kThreads + thread];
    out[block * kThreads + thread] = 0;
    int const rank = cluster_rank();

    if (thread < kBlocks) send(first + rank, mine, mailbox, thread);
    wait_for_mail(mailbox);
    unsigned sum = 0;
    for (int from = 0; from < kBlocks; ++from)
        sum += first[from];
    if (block / kBlocks != last) {
        out[block * kThreads + thread] = sum;
        return;
    }

    // A word to each block from every eighth thread, then everyone's to everyone.
    send(turned + rank * kBlocks + thread / kBlocks, mine * 3u + sum, mailbox + 1, thread % kBlocks);
    wait_for_mail(mailbox + 1);
    unsigned const got = turned[thread] + static_cast<unsigned>(rank);
#pragma unroll 1
    for (int to = 0; to < kBlocks; ++to)
        send(all + rank * kThreads + thread, got, mailbox + 2, to);
    wait_for_mail(mailbox + 2);
    sum = 0;
    for (int from = 0; from < kBlocks; ++from)
        sum = sum * 5u + all[from * kThreads + (thread + 1) % kThreads];
    out[block * kThreads + thread] = sum;
}
