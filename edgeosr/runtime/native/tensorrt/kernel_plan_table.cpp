// kernels/src/plan_table.cpp, in the namespace of kernel_names.h: the plans that a card measured.
#include "kernel_names.h"

#define edgeosr edgeosr_kernels
#include "plan_table.cpp"
