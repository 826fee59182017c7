// Counts what the library's own code allocates, for a test. Not part of the library.
#include <atomic>
#include <cstdlib>
#include <new>

#include "edgeosr.h"

namespace {

std::atomic<long> allocations{0};

void* allocated(std::size_t bytes) {
    ++allocations;
    void* made = std::malloc(bytes);
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
