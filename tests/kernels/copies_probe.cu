// Small kernels that copy by mail, rightly and wrongly; test_simt_copies.py runs them.
#include "cluster.cuh"
#include "harness.h"

struct Probe {
    void const* in;
    void* out;
    uint32_t* workspace;
    int choice;
};

using namespace edgeosr;

#define PROBE_KERNEL(name) EDGEOSR_KERNEL(name)(Probe p)

namespace {

constexpr int kThreads = 128, kWords = 64;  // of a block; of what is copied

Mailbox* mailbox(int number) {
    return reinterpret_cast<Mailbox*>(shared_memory()) + number;
}
unsigned* word(int number) {
    return reinterpret_cast<unsigned*>(shared_memory() + 64) + number;
}
unsigned char const* given(Probe const& p, int words) {
    return static_cast<unsigned char const*>(p.in) + 4 * words;
}

}  // namespace

/// Two copies of each half of `in` by other lanes than the one that opened, and words of the other block with
/// the same mailbox; a second one brings a copy before cluster_sync.
PROBE_KERNEL(copies) {
    int const t = thread_index(), rank = cluster_rank();
    if (t == 96) {
        open_mailbox(mailbox(0), 4 * (kWords + 32 * 2));
        open_mailbox(mailbox(1), 4 * kWords);
    }
    if (t >= 96) {
        warp_sync();
        if (t == 99) copy_by_mail(word(0), p.in, 2 * kWords, mailbox(0));
        if (t == 127) copy_by_mail(word(kWords / 2), given(p, kWords / 2), 2 * kWords, mailbox(0));
        if (t == 96) copy_by_mail(word(2 * kWords), p.in, 4 * kWords, mailbox(1));
    }
    block_sync();
    unsigned sum = 0;
    if (t < 64) {
        wait_for_mail(mailbox(1));
        sum = shared_load_u32(word(2 * kWords + t));
    }
    cluster_sync();
    for (int to = 0; to < 2 && t >= 32 && t < 64; ++to)
        send(word(kWords + rank * 32 + t - 32), static_cast<unsigned>(1000 * rank + t), mailbox(0), to);
    if (t >= 64) {
        wait_for_mail(mailbox(0));
        sum = shared_load_u32(word(t - 64)) + shared_load_u32(word(kWords + t - 64));
    }
    group_sync(1, kThreads);
    static_cast<unsigned*>(p.out)[block_index() * kThreads + t] = sum + shared_load_u32(word(2 * kWords));
}

/// One block. Says which of 4 x 16 bytes of a copy have come by the time that another copy has; it looks
/// without the checked loads. All ones: not yet.
PROBE_KERNEL(peek) {
    int const t = thread_index();
    if (t == 0) {
        open_mailbox(mailbox(0), 64);
        open_mailbox(mailbox(1), 16);
        copy_by_mail(word(0), p.in, 64, mailbox(0));
        copy_by_mail(word(16), p.in, 16, mailbox(1));
    }
    if (t >= 32) return;
    warp_sync();
    wait_for_mail(mailbox(1));
    for (int number = 0; number < 16 && t == 0; ++number)
        static_cast<unsigned*>(p.out)[number] = *static_cast<unsigned volatile*>(word(number));
    wait_for_mail(mailbox(0));
    if (t < 16) static_cast<unsigned*>(p.out)[16 + t] = shared_load_u32(word(t));
}

/// One misuse of a copy per choice.
PROBE_KERNEL(wrong_copy) {
    int const t = thread_index(), choice = p.choice;
    auto* const out = static_cast<unsigned*>(p.out);
    auto* const place = reinterpret_cast<unsigned char*>(word(0));
    if (choice == 12 && t == 0) open_mailbox(mailbox(2), 64);
    if (choice == 12) block_sync();
    if (choice == 12 && t == 0) copy_by_mail(word(0), p.in, 64, mailbox(2));
    if (choice == 12 && t == 0) open_mailbox(reinterpret_cast<Mailbox*>(word(4)), 64);
    if (t == 0 && choice != 0) open_mailbox(mailbox(0), 64);
    if (choice != 1) warp_sync();
    if (choice == 2 && t == 32) copy_by_mail(place, p.in, 64, mailbox(0));  // its warp has met no one
    if (choice == 1 && t == 5) shuffle(0, 0);
    if (t == (choice == 1 ? 1 : 0)) {
        if (choice == 3) copy_by_mail(place + 4, p.in, 16, mailbox(0));
        if (choice == 4) copy_by_mail(place, given(p, 1), 16, mailbox(0));
        if (choice == 5) copy_by_mail(place, p.in, 24, mailbox(0));
        if (choice == 6) copy_by_mail(place, p.in, 0, mailbox(0));
        if (choice == 7) copy_by_mail(place, p.workspace, 16, mailbox(0));
        if (choice == 8) copy_by_mail(shared_memory() + 1008, p.in, 32, mailbox(0));
        if (choice == 9) copy_by_mail(place, p.in, 80, mailbox(0));
        if (choice == 10) copy_by_mail(shared_memory(), p.in, 16, mailbox(0));
        if (choice == 11) copy_by_mail(place, place + 64, 16, mailbox(0));
        if (choice == 18) copy_by_mail(place, p.in, 16, reinterpret_cast<Mailbox*>(shared_memory() + 4));
        copy_by_mail(place, p.in, choice == 16 ? 48 : choice == 19 ? 32 : 64, mailbox(0));
        if (choice == 19) copy_by_mail(place + 16, p.in, 32, mailbox(0));
    }
    if (choice == 13) out[t] = shared_load_u32(word(0));
    if (choice == 14 && t == 0) shared_store_u32(word(15), 1);
    if (choice == 15) return;
    block_sync();
    if (t < 32) wait_for_mail(mailbox(0));
    if (choice == 17 && t >= 32) out[t] = shared_load_u32(word(0));
}

simt::Entry const simt::entries[] = {EDGEOSR_SIMT_ENTRY(copies, Probe),
                                     EDGEOSR_SIMT_ENTRY(peek, Probe),
                                     EDGEOSR_SIMT_ENTRY(wrong_copy, Probe),
                                     {nullptr, nullptr, 0}};
