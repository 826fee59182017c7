// Mail: words that blocks of a cluster send one another (kernels/src/cluster.cuh).
//
// No more is promised than cluster.cuh says. A word comes to its place some time between its send and the end
// of the wait for its mailbox, and words come in any order, as the schedule chooses: forward at once, reverse
// as late as they can and the last one first, shuffled at random. From the send on, a thread of the receiver
// that uses the place races with the word, until it has waited, or has met at a barrier one that has.
//
// A fault that shows in one order only is refused in every order.
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "primitives.h"

namespace simt {

namespace {

constexpr uint8_t kMailbox = 0xff;               // of Inbox::places
constexpr unsigned kMostBoxes = 64;              // of a block: bits of Known
constexpr unsigned kMostBytes = (1u << 20) - 1;  // that an mbarrier counts

struct Sent {
    unsigned word, block, thread;
    Site site;
};

struct Box {
    unsigned at, bytes, opener;
    Site opened;
    unsigned sent, came;  // bytes
    bool waited;          // by some thread
    std::vector<Sent> words;
};

/// A block's.
struct Inbox {
    std::vector<Box> boxes;
    std::vector<uint8_t> places;  // each word of shared memory: kMailbox, or 1 + the box of what comes there
};

struct UnderWay {
    unsigned rank, box, word;
    uint32_t value;
};

struct Mail {
    std::vector<Inbox> inboxes;  // by rank
    std::vector<UnderWay> under_way;
    uint64_t patience = 0;  // shuffled: one word comes in so many switches, less 1
} mail;

std::string mailbox_at(unsigned at) {
    return "the mailbox at byte " + std::to_string(at);
}

/// Offset in the running block's shared memory of what is aligned to its size.
unsigned offset_of(void const* address, unsigned bytes, char const* what, Site const& site) {
    auto const offset = static_cast<unsigned char const*>(address) - shared_window.begin;
    if (offset < 0 || static_cast<size_t>(offset) + bytes > shared_window.bytes || offset % bytes)
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

void deliver(size_t number) {
    Unjudged const guard;
    UnderWay const it = mail.under_way[number];
    mail.under_way[number] = mail.under_way.back();
    mail.under_way.pop_back();
    machine.under_way = mail.under_way.size();
    Block& block = machine.blocks[it.rank];
    std::memcpy(block.shared.begin + 4 * it.word, &it.value, 4);
    Box& box = mail.inboxes[it.rank].boxes[it.box];
    box.came += 4;
    if (box.came < box.bytes) return;
    for (unsigned i = 0; i < machine.launch.threads; ++i)
        if (block.threads[i].state == State::for_mail && block.threads[i].number == it.box)
            wake(block.threads[i]);
}

}  // namespace

void begin_mail() {
    mail = Mail{};
    mail.inboxes.resize(machine.blocks.size());
    machine.mail = false;
    machine.under_way = 0;
}

void open_mailbox(void* mailbox, unsigned bytes, Site site) {
    unsigned const at = offset_of(mailbox, 8, "a mailbox", site);
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
    unsigned const place = offset_of(shared, 4, "send to a place", site),
                   at = offset_of(mailbox, 8, "send with a mailbox", site);
    Block const& to = machine.blocks[static_cast<size_t>(rank)];
    if (to.done == machine.launch.threads)
        fail(site, "send to block " + std::to_string(to.index) + ", which has ended");
    Inbox& inbox = mail.inboxes[to.rank];
    std::string const whose = " of block " + std::to_string(to.index);
    unsigned const number = box_at(inbox, at);
    if (number == inbox.boxes.size())
        fail(site, "send with " + mailbox_at(at) + whose + ", which is not open");
    Box& box = inbox.boxes[number];
    if (box.sent + 4 > box.bytes)
        fail(site,
             "send of more than the " + std::to_string(box.bytes) + " bytes for which " + mailbox_at(at) +
                 whose + " was opened");
    uint8_t const there = inbox.places[place / 4];
    // Once a thread has waited for what came there, another word may follow. Who reads too late is refused.
    if (there && (there == kMailbox || !inbox.boxes[there - 1u].waited))
        fail(site,
             "send to byte " + std::to_string(place) + whose +
                 (there == kMailbox ? ", where a mailbox is" : ", to which another word is under way"));
    {
        Thread const& me = *machine.current;
        Unjudged const guard;
        box.sent += 4;
        box.words.push_back({place / 4, me.block->index, me.linear, site});
        inbox.places[place / 4] = static_cast<uint8_t>(1 + number);
        mail.under_way.push_back({to.rank, number, place / 4, word});
        machine.under_way = mail.under_way.size();
    }
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_write_range(to.shared.begin + place, 4);
    __tsan_release(to.shared.begin + at);
#endif
    if (machine.launch.schedule == Schedule::forward) deliver(mail.under_way.size() - 1);
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
    unsigned const at = offset_of(mailbox, 8, "wait for a mailbox", site);
    Inbox& inbox = mail.inboxes[me.block->rank];
    unsigned const number = box_at(inbox, at);
    if (number == inbox.boxes.size()) fail(site, "wait for " + mailbox_at(at) + ", which is not open");
    if (!(me.known.opened >> number & 1))
        fail(site,
             "wait for " + mailbox_at(at) + ", but the thread has met no one at a barrier since thread " +
                 std::to_string(inbox.boxes[number].opener) + " opened it at " +
                 text(inbox.boxes[number].opened));
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
    for (Sent const& sent : box.words)
        if (sent.word == word)
            fail(site,
                 access() + " races with the word that block " + std::to_string(sent.block) + ", thread " +
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
