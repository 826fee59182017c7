// kernels/src/packed_file.cpp, in the namespace of kernel_names.h: a packed scorer is found good before a
// launch reads any of it.
#include "kernel_names.h"

#define edgeosr edgeosr_kernels
#include "packed_file.cpp"
