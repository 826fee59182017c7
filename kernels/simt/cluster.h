// The names of cluster.cuh on the CPU; cluster.cuh says what each means and includes this under EDGEOSR_SIMT.
#pragma once

#include "simt.h"

#define EDGEOSR_CLUSTERS (EDGEOSR_SIMT_ARCH >= 900)

#if EDGEOSR_CLUSTERS
namespace edgeosr {

using Mailbox = unsigned long long;

inline int cluster_rank() {
    return static_cast<int>(simt::cluster_rank());
}
inline void open_mailbox(Mailbox* mailbox, unsigned bytes, Site site = Site::here()) {
    simt::open_mailbox(mailbox, bytes, site);
}
inline void cluster_sync(Site site = Site::here()) {
    simt::cluster_sync(site);
}
inline void send(void* shared, unsigned word, Mailbox* mailbox, int rank, Site site = Site::here()) {
    simt::send(shared, word, mailbox, rank, site);
}
__attribute__((noinline)) inline void copy_by_mail(
    void* shared, void const* global, unsigned bytes, Mailbox* mailbox, Site site = Site::here()) {
    simt::copy_by_mail(shared, global, bytes, mailbox, __builtin_return_address(0), site);
}
inline void wait_for_mail(Mailbox* mailbox, Site site = Site::here()) {
    simt::wait_for_mail(mailbox, site);
}
inline void group_sync(int number, int threads, Site site = Site::here()) {
    simt::group_sync(number, threads, site);
}

}  // namespace edgeosr
#endif
