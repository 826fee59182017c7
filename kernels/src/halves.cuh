// Hardware primitives of two halves a register, low and high; on a CPU kernels/simt/simt.h has them.
//
// - bytes_of: four bytes of the eight of (high:low), chosen by the nibbles of `which`, lowest first
// - halves_above, halves_not_below: 1 where a > b (a >= b), else 0; 0 if one is not a number
// - halves_times, halves_multiply_add: a b and a b + c, rounded once, to nearest even; subnormals count
// - ballots_of_halves: of all 32 lanes, those whose low half is > 0, and those whose high half is
#pragma once
#include "primitives.cuh"
#ifndef EDGEOSR_SIMT

namespace edgeosr {

EDGEOSR_DEVICE unsigned bytes_of(unsigned low, unsigned high, unsigned which) {
    return __byte_perm(low, high, which);
}
EDGEOSR_DEVICE unsigned halves_above(unsigned a, unsigned b) {
    unsigned ones;
    asm("set.gt.f16x2.f16x2 %0, %1, %2;" : "=r"(ones) : "r"(a), "r"(b));
    return ones;
}
EDGEOSR_DEVICE unsigned halves_not_below(unsigned a, unsigned b) {
    unsigned ones;
    asm("set.ge.f16x2.f16x2 %0, %1, %2;" : "=r"(ones) : "r"(a), "r"(b));
    return ones;
}
EDGEOSR_DEVICE unsigned halves_times(unsigned a, unsigned b) {
    unsigned product;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
    return product;
}
EDGEOSR_DEVICE unsigned halves_multiply_add(unsigned a, unsigned b, unsigned c) {
    unsigned sum;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
}
EDGEOSR_DEVICE void ballots_of_halves(unsigned halves, unsigned& low, unsigned& high) {
    asm volatile(
        "{\n\t.reg .pred low, high;\n\t"
        "setp.gt.f16x2 low|high, %2, %3;\n\t"
        "vote.sync.ballot.b32 %0, low, 0xffffffff;\n\t"
        "vote.sync.ballot.b32 %1, high, 0xffffffff;\n\t}"
        : "=r"(low), "=r"(high)
        : "r"(halves), "r"(0u));
}

}  // namespace edgeosr
#endif
