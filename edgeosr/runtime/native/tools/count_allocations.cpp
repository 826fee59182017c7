// Counts what the library's own code allocates, and refuses what is large, for tests. Not part of the
// library.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "edgeosr.h"

namespace {

std::atomic<long> allocations{0};
std::atomic<std::size_t> most_bytes{SIZE_MAX};  // of one allocation

void* allocated(std::size_t bytes) {
    ++allocations;
    void* made = bytes <= most_bytes ? std::malloc(bytes) : nullptr;
    if (made == nullptr) throw std::bad_alloc();
    return made;
}

}  // namespace

void* operator new(std::size_t bytes) {
    return allocated(bytes);
}
void* operator new[](std::size_t bytes) {
    return allocated(bytes);
}
void operator delete(void* pointer) noexcept {
    std::free(pointer);
}
void operator delete[](void* pointer) noexcept {
    std::free(pointer);
}
void operator delete(void* pointer, std::size_t) noexcept {
    std::free(pointer);
}
void operator delete[](void* pointer, std::size_t) noexcept {
    std::free(pointer);
}

extern "C" EDGEOSR_API long edgeosr_test_allocations(void) {
    return allocations.load();
}

/// From now on an allocation of more bytes finds no memory.
extern "C" EDGEOSR_API void edgeosr_test_allow(std::size_t bytes) {
    most_bytes = bytes;
}
