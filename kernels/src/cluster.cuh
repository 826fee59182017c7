// What the blocks of one cluster do together (sm_90 and later): device intrinsics only, as primitives.cuh;
// what they mean on a CPU is kernels/simt/cluster.h, which defines the same names.
//
// - EDGEOSR_CLUSTERS: 1 where there are clusters; else none of these is ever called
// - cluster_rank: of this block in its cluster, 0 .. size - 1; blocks of a cluster have neighbouring indices
// - open_mailbox: by one thread, before cluster_sync: so many bytes will come, once in the launch
// - cluster_sync: of all threads of all blocks of the cluster, once: what any of them stored before, in
// shared
//   or global memory, is seen behind it; all mailboxes are open
// - send: behind cluster_sync, a word to the same place in the shared memory of block `rank` (its own too),
//   counted by the same mailbox there. Orders nothing else
// - copy_by_mail: `bytes` bytes of global memory that no one writes to this block's shared memory, counted by
//   its mailbox; addresses and bytes multiples of 16; by the thread that opened the mailbox, or behind a
//   barrier
// - wait_for_mail: of whole warps that read what came with a mailbox: it is there. A block ends when all its
//   mail has come
// - group_sync: a barrier of `threads` threads, whole warps that all name the same number, 1 .. 15
//
// Compilers before CUDA 12.1 cannot count bytes: they make a kernel without clusters.
#pragma once
#include "primitives.cuh"
#ifdef EDGEOSR_SIMT
#include "cluster.h"
#else

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && \
    __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1201
#define EDGEOSR_CLUSTERS 1
#else
#define EDGEOSR_CLUSTERS 0
#endif

#if EDGEOSR_CLUSTERS
namespace edgeosr {

using Mailbox = unsigned long long;

EDGEOSR_DEVICE unsigned shared_address(void const* shared) {
    return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}
EDGEOSR_DEVICE unsigned address_in_block(void const* shared, int rank) {
    unsigned there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(there)
                 : "r"(shared_address(shared)), "r"(rank));
    return there;
}

EDGEOSR_DEVICE int cluster_rank() {  // read anew at each call, as block_index
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

EDGEOSR_DEVICE void open_mailbox(Mailbox* mailbox, unsigned bytes) {
    unsigned const at = shared_address(mailbox);
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(at) : "memory");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" : : "r"(at), "r"(bytes) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory");
}

EDGEOSR_DEVICE void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;"
                 :
                 :
                 : "memory");
}

EDGEOSR_DEVICE void send(void* shared, unsigned word, Mailbox* mailbox, int rank) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];"
                 :
                 : "r"(address_in_block(shared, rank)), "r"(word), "r"(address_in_block(mailbox, rank))
                 : "memory");
}

EDGEOSR_DEVICE void copy_by_mail(void* shared, void const* global, unsigned bytes, Mailbox* mailbox) {
    asm volatile(
        "fence.proxy.async.shared::cta;\n"
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
        :
        : "r"(shared_address(shared)), "l"(global), "r"(bytes), "r"(shared_address(mailbox))
        : "memory");
}

EDGEOSR_DEVICE void wait_for_mail(Mailbox* mailbox) {
    unsigned there;
    do {
        asm volatile(
            "{\n.reg .pred there;\n"
            "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 there, [%1], 0;\n"
            "selp.u32 %0, 1, 0, there;\n}"
            : "=r"(there)
            : "r"(shared_address(mailbox))
            : "memory");
    } while (!there);
}

EDGEOSR_DEVICE void group_sync(int number, int threads) {
    asm volatile("barrier.cta.sync %0, %1;" : : "r"(number), "r"(threads) : "memory");
}

}  // namespace edgeosr
#endif
#endif

#if !EDGEOSR_CLUSTERS
namespace edgeosr {

// Never called: they let what is for clusters compile where there are none.
using Mailbox = unsigned long long;
EDGEOSR_DEVICE int cluster_rank() {
    return 0;
}
EDGEOSR_DEVICE void open_mailbox(Mailbox*, unsigned) {}
EDGEOSR_DEVICE void cluster_sync() {}
EDGEOSR_DEVICE void send(void*, unsigned, Mailbox*, int) {}
EDGEOSR_DEVICE void copy_by_mail(void*, void const*, unsigned, Mailbox*) {}
EDGEOSR_DEVICE void wait_for_mail(Mailbox*) {}
EDGEOSR_DEVICE void group_sync(int, int) {}

}  // namespace edgeosr
#endif
