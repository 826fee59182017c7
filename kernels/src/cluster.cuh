// Words that the blocks of one cluster send to one another (sm_90 and later): device intrinsics only, as
// primitives.cuh; what they mean on a CPU is kernels/simt/cluster.h, which defines the same names.
//
// - EDGEOSR_CLUSTERS: 1 where there are clusters; else none of these names exist
// - cluster_rank: of this block in its cluster, 0 .. size - 1; blocks of a cluster have neighbouring indices
// - open_mailbox: by one thread, before it arrives: so many bytes will come, once in the launch
// - cluster_arrive, cluster_wait: of all threads of all blocks of the cluster, once each: behind the wait all
//   mailboxes are open. Nothing else is ordered by them
// - send: a word to the same place in the shared memory of block `rank` (its own too), counted by the same
//   mailbox there. Stores before it are not ordered by it
// - wait_for_mail: of all threads of all blocks of the cluster, mailboxes in the same order: what was sent
//   with it is there. A block that has waited for its last mailbox may end; none ends before
//
// Compilers before CUDA 12.1 cannot count bytes: there the whole cluster meets in wait_for_mail.
#pragma once
#include "primitives.cuh"
#ifdef EDGEOSR_SIMT
#include "cluster.h"
#else

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define EDGEOSR_CLUSTERS 1
#else
#define EDGEOSR_CLUSTERS 0
#endif

#if EDGEOSR_CLUSTERS
#define EDGEOSR_COUNTS_MAIL (__CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1201)

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
#if EDGEOSR_COUNTS_MAIL
    unsigned const at = shared_address(mailbox);
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(at) : "memory");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" : : "r"(at), "r"(bytes) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory");
#else
    static_cast<void>(mailbox), static_cast<void>(bytes);
#endif
}

EDGEOSR_DEVICE void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" : : : "memory");
}
EDGEOSR_DEVICE void cluster_wait() {
    asm volatile("barrier.cluster.wait.aligned;" : : : "memory");
}

EDGEOSR_DEVICE void send(void* shared, unsigned word, Mailbox* mailbox, int rank) {
    unsigned const to = address_in_block(shared, rank);
#if EDGEOSR_COUNTS_MAIL
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];"
                 :
                 : "r"(to), "r"(word), "r"(address_in_block(mailbox, rank))
                 : "memory");
#else
    static_cast<void>(mailbox);
    asm volatile("st.shared::cluster.u32 [%0], %1;" : : "r"(to), "r"(word) : "memory");
#endif
}

EDGEOSR_DEVICE void wait_for_mail(Mailbox* mailbox) {
#if EDGEOSR_COUNTS_MAIL
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
#else
    static_cast<void>(mailbox);
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;"
                 :
                 :
                 : "memory");
#endif
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
EDGEOSR_DEVICE void cluster_arrive() {}
EDGEOSR_DEVICE void cluster_wait() {}
EDGEOSR_DEVICE void send(void*, unsigned, Mailbox*, int) {}
EDGEOSR_DEVICE void wait_for_mail(Mailbox*) {}

}  // namespace edgeosr
#endif
