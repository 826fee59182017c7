// kernels/src/plan.cpp, in the namespace of kernel_names.h: what a launch needs.
#include "kernel_names.h"

#define edgeosr edgeosr_kernels
#include "plan.cpp"
