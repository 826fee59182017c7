// Mail: words that blocks of a cluster send one another, and copies of global memory that a block asks for
// itself (kernels/src/cluster.cuh).
//
// No more is promised than cluster.cuh says. A word comes to its place some time between its send and the end
// of the wait for its mailbox, and words come in any order, as the schedule chooses: forward at once, reverse
// as late as they can and the last one first, shuffled at random. So do the pieces of a copy, whose place is
// poisoned until then. From the send on, a thread of the receiver that uses the place races with the mail,
// until it has waited, or has met at a barrier one that has.
//
// A fault that shows in one order only is refused in every order.
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "primitives.h"

#if defined(EDGEOSR_SIMT_COUNT)
#include "counters.h"
#endif

namespace simt {

namespace {

constexpr uint8_t kMailbox = 0xff;               // of Inbox::places
constexpr unsigned kMostBoxes = 64;              // of a block: bits of Known
constexpr unsigned kMostBytes = (1u << 20) - 1;  // that an mbarrier counts
constexpr unsigned kPiece = 16;  // bytes of a copy that come at once, but at most kPieces pieces
constexpr unsigned kPieces = 16;
constexpr int kPoison = 0xff;

struct Sent {
    unsigned word, words, block, thread;
    Site site;
};

struct Box {
    unsigned at, bytes, opener;
    Site opened;
    unsigned sent, came;  // bytes
    bool waited;          // by some thread
    std::vector<Sent> mail;
};

/// A block's.
struct Inbox {
    std::vector<Box> boxes;
    std::vector<uint8_t> places;  // each word of shared memory: kMailbox, or 1 + the box of what comes there
};

struct UnderWay {
    unsigned rank, box, word, bytes;
    unsigned char const* value;  // of a copy: no one writes it
    uint32_t sent;               // else
};

struct Mail {
    std::vector<Inbox> inboxes;  // by rank
    std::vector<UnderWay> under_way;
    uint64_t patience = 0;  // shuffled: one piece comes in so many switches, less 1
} mail;

std::string mailbox_at(unsigned at) {
    return "the mailbox at byte " + std::to_string(at);
}

/// Offset in the running block's shared memory of so many bytes, aligned.
unsigned offset_of(
    void const* address, unsigned bytes, unsigned alignment, char const* what, Site const& site) {
    auto const offset = static_cast<unsigned char const*>(address) - shared_window.begin;
    if (offset < 0 || static_cast<size_t>(offset) + bytes > shared_window.bytes || offset % alignment)
        fail(site,
             std::string(what) + " at byte " + std::to_string(offset) + " of " +
                 std::to_string(shared_window.bytes) + " of shared memory: misaligned, or outside");
    return static_cast<unsigned>(offset);
}

/// Its number among the block's boxes; as many as there are: not opened.
unsigned box_at(Inbox const& inbox, unsigned at) {
    unsigned i = 0;
    while (i < inbox.boxes.size() && inbox.boxes[i].at != at)
        ++i;
    return i;
}

/// The running block's box, which the thread knows to be open.
unsigned own_box(Inbox const& inbox, unsigned at, char const* what, Site const& site) {
    unsigned const number = box_at(inbox, at);
    if (number == inbox.boxes.size()) fail(site, std::string(what) + mailbox_at(at) + ", which is not open");
    Box const& box = inbox.boxes[number];
    if (!(machine.current->known.opened >> number & 1))
        fail(site,
             std::string(what) + mailbox_at(at) +
                 ", but the thread has met no one at a barrier since thread " + std::to_string(box.opener) +
                 " opened it at " + text(box.opened));
    return number;
}

void deliver(size_t number) {
    Unjudged const guard;
    UnderWay const it = mail.under_way[number];
    mail.under_way[number] = mail.under_way.back();
    mail.under_way.pop_back();
    machine.under_way = mail.under_way.size();
    Block& block = machine.blocks[it.rank];
    void const* const value = it.value ? static_cast<void const*>(it.value) : &it.sent;
    std::memcpy(block.shared.begin + 4 * it.word, value, it.bytes);
    Box& box = mail.inboxes[it.rank].boxes[it.box];
    box.came += it.bytes;
    if (box.came < box.bytes) return;
    for (unsigned i = 0; i < machine.launch.threads; ++i)
        if (block.threads[i].state == State::for_mail && block.threads[i].number == it.box)
            wake(block.threads[i]);
}

/// Mail to the place of a block, if there is room in the box and no one's mail under way to it.
void post(Block const& to,
          unsigned number,
          unsigned place,
          void const* value,
          unsigned bytes,
          char const* what,
          Site const& site) {
    Thread const& me = *machine.current;
    Inbox& inbox = mail.inboxes[to.rank];
    Box& box = inbox.boxes[number];
    std::string const whose = " of block " + std::to_string(to.index);
    if (bytes > box.bytes - box.sent)
        fail(site,
             std::string(what) + " of more than the " + std::to_string(box.bytes) + " bytes for which " +
                 mailbox_at(box.at) + whose + " was opened");
    for (unsigned word = place / 4; word < (place + bytes) / 4; ++word) {
        uint8_t const there = inbox.places[word];
        // Once a thread has waited for what came there, other mail may follow. Who reads too late is refused.
        if (there && (there == kMailbox || !inbox.boxes[there - 1u].waited))
            fail(site,
                 std::string(what) + " to byte " + std::to_string(4 * word) + whose +
                     (there == kMailbox ? ", where a mailbox is" : ", to which other mail is under way"));
    }
    Unjudged const guard;
    box.sent += bytes;
    box.mail.push_back({place / 4, bytes / 4, me.block->index, me.linear, site});
    std::fill_n(inbox.places.begin() + place / 4, bytes / 4, static_cast<uint8_t>(1 + number));
    auto const* const first = static_cast<unsigned char const*>(value);
    if (bytes == 4) {
        uint32_t word;
        std::memcpy(&word, first, 4);
        mail.under_way.push_back({to.rank, number, place / 4, 4, nullptr, word});
    } else {
        unsigned const most = std::max(kPiece, (bytes / kPieces + kPiece - 1) / kPiece * kPiece);
        for (unsigned from = 0; from < bytes; from += most)
            mail.under_way.push_back(
                {to.rank, number, (place + from) / 4, std::min(bytes - from, most), first + from, 0});
    }
    machine.under_way = mail.under_way.size();
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_release(to.shared.begin + box.at);
#endif
    if (machine.launch.schedule == Schedule::forward)
        while (!mail.under_way.empty())
            deliver(mail.under_way.size() - 1);
}

}  // namespace

void begin_mail() {
    mail = Mail{};
    mail.inboxes.resize(machine.blocks.size());
    machine.mail = false;
    machine.under_way = 0;
}

void open_mailbox(void* mailbox, unsigned bytes, Site site) {
    unsigned const at = offset_of(mailbox, 8, 8, "a mailbox", site);
    Thread& me = *machine.current;
    Inbox& inbox = mail.inboxes[me.block->rank];
    unsigned const number = box_at(inbox, at);
    if (number < inbox.boxes.size())
        fail(site,
             mailbox_at(at) + " is opened twice: by thread " + std::to_string(inbox.boxes[number].opener) +
                 " at " + text(inbox.boxes[number].opened));
    if (me.synced) fail(site, mailbox_at(at) + " is opened after cluster_sync: others may send before");
    if (bytes > kMostBytes) fail(site, mailbox_at(at) + " is opened for more bytes than it counts");
    if (number == kMostBoxes) fail(site, "more mailboxes than the emulation tells apart");
    if (!inbox.places.empty() && (inbox.places[at / 4] || inbox.places[at / 4 + 1]))
        fail(site, mailbox_at(at) + " is opened where mail comes");
    Unjudged const guard;
    inbox.places.resize(shared_window.bytes / 4);
    inbox.boxes.push_back({at, bytes, me.linear, site, 0, 0, false, {}});
    inbox.places[at / 4] = inbox.places[at / 4 + 1] = kMailbox;
    shared_window.places = me.block->shared.places = inbox.places.data();
    me.known.opened |= uint64_t{1} << number;
    if (!machine.mail && machine.launch.schedule == Schedule::shuffled)
        mail.patience = (uint64_t{1} << next_random() % 12) - 1;
    machine.mail = true;
}

void send(void* shared, uint32_t word, void* mailbox, int rank, Site site) {
    if (!machine.current->synced)
        fail(site, "send before cluster_sync: the other block's mailbox may not be open");
    if (rank < 0 || static_cast<size_t>(rank) >= machine.blocks.size())
        fail(site,
             "send to rank " + std::to_string(rank) + " of a cluster of " +
                 std::to_string(machine.blocks.size()) + " blocks");
    unsigned const place = offset_of(shared, 4, 4, "send to a place", site),
                   at = offset_of(mailbox, 8, 8, "send with a mailbox", site);
    Block const& to = machine.blocks[static_cast<size_t>(rank)];
    if (to.done == machine.launch.threads)
        fail(site, "send to block " + std::to_string(to.index) + ", which has ended");
    Inbox const& inbox = mail.inboxes[to.rank];
    unsigned const number = box_at(inbox, at);
    if (number == inbox.boxes.size())
        fail(site,
             "send with " + mailbox_at(at) + " of block " + std::to_string(to.index) + ", which is not open");
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_write_range(to.shared.begin + place, 4);
#endif
    post(to, number, place, &word, 4, "send", site);
}

void copy_by_mail(void* shared,
                  void const* global,
                  unsigned bytes,
                  void* mailbox,
                  [[maybe_unused]] void const* code,
                  Site site) {
    if (!bytes || bytes % 16)
        fail(site, "copy_by_mail of " + std::to_string(bytes) + " bytes: no multiple of 16, or none");
    unsigned const place = offset_of(shared, bytes, 16, "copy_by_mail to a place", site),
                   at = offset_of(mailbox, 8, 8, "copy_by_mail with a mailbox", site);
    auto const* from = static_cast<unsigned char const*>(global);
    require_read_only(from, 16, site);
    require_read_only(from + bytes - 16, 16, site);
    Block const& block = *machine.current->block;
    unsigned const number = own_box(mail.inboxes[block.rank], at, "copy_by_mail with ", site);
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_read_range(const_cast<void*>(global), bytes);
    __tsan_write_range(shared, bytes);
#endif
#if defined(EDGEOSR_SIMT_COUNT)
    count_access(global, bytes, false, code);
#endif
    {
        Unjudged const guard;
        std::memset(shared, kPoison, bytes);
    }
    post(block, number, place, global, bytes, "copy_by_mail", site);
}

bool bring_mail() {
    if (mail.under_way.empty()) return false;
    size_t const count = mail.under_way.size();
    deliver(machine.launch.schedule == Schedule::shuffled ? next_random() % count : count - 1);
    return true;
}

void perhaps_bring_mail() {
    if (machine.launch.schedule == Schedule::shuffled && (next_random() & mail.patience) == 0) bring_mail();
}

void wait_for_mail(void* mailbox, Site site) {
    Thread& me = *machine.current;
    unsigned const at = offset_of(mailbox, 8, 8, "wait for a mailbox", site);
    Inbox& inbox = mail.inboxes[me.block->rank];
    unsigned const number = own_box(inbox, at, "wait for ", site);
    step_together(site, number);
    if (inbox.boxes[number].came < inbox.boxes[number].bytes) {
        me.state = State::for_mail;
        me.number = number;
        suspend();
    }
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_acquire(me.block->shared.begin + at);
#endif
    ++me.synchronisations;
    me.known.waited |= uint64_t{1} << number;
    inbox.boxes[number].waited = true;
}

void mail_at(size_t word, Site site) {
    Thread const& me = *machine.current;
    Inbox const& inbox = mail.inboxes[me.block->rank];
    auto const access = [word] { return "shared access at byte " + std::to_string(4 * word); };
    if (inbox.places[word] == kMailbox) fail(site, access() + ", where a mailbox is");
    unsigned const number = inbox.places[word] - 1u;
    if (me.known.waited >> number & 1) return;
    Box const& box = inbox.boxes[number];
    for (Sent const& sent : box.mail)
        if (sent.word <= word && word < sent.word + sent.words)
            fail(site,
                 access() + " races with the mail that block " + std::to_string(sent.block) + ", thread " +
                     std::to_string(sent.thread) + " sent there at " + text(sent.site) +
                     ": the thread has not waited for " + mailbox_at(box.at));
}

void require_mail_waited_for(Thread& thread) {
    // Of a box to which nothing was sent nobody need know: who sends to it now sends to a block that has
    // ended.
    for (Box const& box : mail.inboxes[thread.block->rank].boxes)
        if (!box.waited && box.sent)
            fail(thread.site,
                 "the block ends without a wait for " + mailbox_at(box.at) + ", which thread " +
                     std::to_string(box.opener) + " opened at " + text(box.opened));
}

std::string missing_mail(Thread const& thread) {
    Box const& box = mail.inboxes[thread.block->rank].boxes[thread.number];
    return mailbox_at(box.at) + ": " + std::to_string(box.came) + " of " + std::to_string(box.bytes) +
           " bytes came";
}

}  // namespace simt
