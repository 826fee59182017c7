// kernels/src/plan.cpp and sharing.cpp, in the namespace of kernel_names.h: what a launch needs.
#include "kernel_names.h"

#define edgeosr edgeosr_kernels
#include "plan.cpp"
#include "sharing.cpp"
