#include "counters.h"

#include <dlfcn.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "machine.h"
#include "primitives.h"

namespace simt {

namespace {

constexpr int kShared = -1, kPrivate = -2;

struct Access {
    uint64_t request;  // warp, synchronisations, occurrence
    uintptr_t address;
    uint32_t bytes;
    uint8_t lane;
};

/// One load or store instruction of the kernel.
struct Instruction {
    int array = kPrivate;
    bool store = false;
    std::vector<uint32_t> synchronisations, occurrence;  // per thread
    std::vector<Access> accesses;                        // of the running cluster
    uint64_t requests = 0, excess = 0;
};

struct Counters {
    bool on = false;
    EdgeosrCountedArray* arrays = nullptr;
    size_t array_count = 0;
    EdgeosrSharedCounts shared{};
    // One entry per (instruction, array): inlined code may reach several arrays from one place.
    std::unordered_map<uint64_t, Instruction> instructions;
} counters;

int array_of(uintptr_t address) {
    auto const shared = reinterpret_cast<uintptr_t>(shared_window.begin);
    if (address >= shared && address < shared + shared_window.bytes) return kShared;
    for (size_t i = 0; i < counters.array_count; ++i) {
        auto const begin = reinterpret_cast<uintptr_t>(counters.arrays[i].begin);
        if (address >= begin && address < begin + counters.arrays[i].bytes) return static_cast<int>(i);
    }
    return kPrivate;
}

/// Wavefronts of the accesses [first, last) of one request, and the number without conflicts.
void count_wavefronts(Instruction& instruction, Access const* first, Access const* last) {
    int const lanes = first->bytes <= 4 ? 32 : first->bytes <= 8 ? 16 : 8;  // served together
    uint64_t wavefronts = 0, compulsory = 0;
    for (int group = 0; group < 32; group += lanes) {
        std::unordered_set<uintptr_t> words;
        for (Access const* a = first; a != last; ++a)
            if (a->lane >= group && a->lane < group + lanes)
                for (uintptr_t word = a->address / 4; word <= (a->address + a->bytes - 1) / 4; ++word)
                    words.insert(word);
        if (words.empty()) continue;
        unsigned per_bank[32] = {};
        for (uintptr_t const word : words)
            ++per_bank[word % 32];
        wavefronts += *std::max_element(per_bank, per_bank + 32);
        ++compulsory;
    }
    counters.shared.requests += 1;
    counters.shared.wavefronts += wavefronts;
    counters.shared.compulsory += compulsory;
    instruction.requests += 1;
    instruction.excess += wavefronts - compulsory;
}

void count_sectors(Instruction const& instruction, Access const* first, Access const* last) {
    std::vector<uintptr_t> sectors;
    for (Access const* a = first; a != last; ++a)
        for (uintptr_t s = a->address / 32; s <= (a->address + a->bytes - 1) / 32; ++s)
            sectors.push_back(s);
    std::sort(sectors.begin(), sectors.end());
    auto const distinct =
        static_cast<uint64_t>(std::unique(sectors.begin(), sectors.end()) - sectors.begin());
    EdgeosrCountedArray& array = counters.arrays[instruction.array];
    (instruction.store ? array.store_requests : array.load_requests) += 1;
    (instruction.store ? array.store_sectors : array.load_sectors) += distinct;
}

}  // namespace

void begin_counting(EdgeosrCountedArray* arrays, size_t count) {
    counters = Counters{};
    counters.on = true;
    counters.arrays = arrays;
    counters.array_count = count;
}

void end_cluster_counting() {
    for (auto& [key, instruction] : counters.instructions) {
        auto& list = instruction.accesses;
        std::stable_sort(
            list.begin(), list.end(), [](Access const& a, Access const& b) { return a.request < b.request; });
        for (size_t first = 0; first < list.size();) {
            size_t last = first;
            while (last < list.size() && list[last].request == list[first].request)
                ++last;
            if (instruction.array == kShared)
                count_wavefronts(instruction, &list[first], list.data() + last);
            else
                count_sectors(instruction, &list[first], list.data() + last);
            first = last;
        }
        list.clear();
        std::fill(instruction.synchronisations.begin(), instruction.synchronisations.end(), ~0u);
    }
}

size_t end_counting(EdgeosrSharedCounts* shared, EdgeosrConflict* conflicts, size_t room) {
    *shared = counters.shared;
    size_t found = 0;
    for (auto& [key, instruction] : counters.instructions)
        if (instruction.excess && found < room) {
            Dl_info info{};
            uint64_t const address = key >> 8;
            dladdr(reinterpret_cast<void*>(address), &info);
            conflicts[found++] = {address - reinterpret_cast<uintptr_t>(info.dli_fbase) - 1,
                                  instruction.requests,
                                  instruction.excess};
        }
    counters = Counters{};
    return found;
}

void count_access(void const* address, size_t bytes, bool store, void const* code) {
    if (!counters.on || !machine.current) return;
    auto where = reinterpret_cast<uintptr_t>(address);
    if (workspace_shift) where = address_in_workspace(where);
    int const array = array_of(where);
    if (array == kPrivate) return;
    uint64_t const key = reinterpret_cast<uintptr_t>(code) << 8 | static_cast<uint8_t>(array);
    Instruction& instruction = counters.instructions[key];
    Thread const& me = *machine.current;
    if (instruction.occurrence.empty()) {
        instruction.array = array;
        instruction.store = store;
        instruction.synchronisations.assign(machine.threads.size(), ~0u);
        instruction.occurrence.assign(machine.threads.size(), 0);
    }
    auto const number = static_cast<size_t>(&me - machine.threads.data());
    uint32_t& occurrence = instruction.occurrence[number];
    if (instruction.synchronisations[number] != me.synchronisations) {
        instruction.synchronisations[number] = me.synchronisations;
        occurrence = 0;
    }
    uint64_t const request = static_cast<uint64_t>(me.warp - machine.warps.data()) << 56 |
                             static_cast<uint64_t>(me.synchronisations & 0xfffffffu) << 28 |
                             (occurrence & 0xfffffffu);
    ++occurrence;
    instruction.accesses.push_back(
        {request, where, static_cast<uint32_t>(bytes), static_cast<uint8_t>(me.linear % 32)});
}

}  // namespace simt

// The hooks that -fsanitize=thread calls.
#define EDGEOSR_HOOK(name, bytes, store)                                        \
    extern "C" void name(void* address) {                                       \
        simt::count_access(address, bytes, store, __builtin_return_address(0)); \
    }
EDGEOSR_HOOK(__tsan_read1, 1, false)
EDGEOSR_HOOK(__tsan_read2, 2, false)
EDGEOSR_HOOK(__tsan_read4, 4, false)
EDGEOSR_HOOK(__tsan_read8, 8, false)
EDGEOSR_HOOK(__tsan_read16, 16, false)
EDGEOSR_HOOK(__tsan_write1, 1, true)
EDGEOSR_HOOK(__tsan_write2, 2, true)
EDGEOSR_HOOK(__tsan_write4, 4, true)
EDGEOSR_HOOK(__tsan_write8, 8, true)
EDGEOSR_HOOK(__tsan_write16, 16, true)
EDGEOSR_HOOK(__tsan_unaligned_read2, 2, false)
EDGEOSR_HOOK(__tsan_unaligned_read4, 4, false)
EDGEOSR_HOOK(__tsan_unaligned_read8, 8, false)
EDGEOSR_HOOK(__tsan_unaligned_read16, 16, false)
EDGEOSR_HOOK(__tsan_unaligned_write2, 2, true)
EDGEOSR_HOOK(__tsan_unaligned_write4, 4, true)
EDGEOSR_HOOK(__tsan_unaligned_write8, 8, true)
EDGEOSR_HOOK(__tsan_unaligned_write16, 16, true)
extern "C" void __tsan_init() {}
extern "C" void __tsan_read_range(void* address, unsigned long bytes) {
    simt::count_access(address, bytes, false, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void* address, unsigned long bytes) {
    simt::count_access(address, bytes, true, __builtin_return_address(0));
}
