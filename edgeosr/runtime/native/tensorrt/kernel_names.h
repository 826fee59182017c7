// The headers of the fused kernel's host side, kernels/include and kernels/src. Their names are also those of
// this library's own scoring (ScoreInput, Head, ...), so here their namespace is edgeosr_kernels.
#pragma once

#include <cuda_runtime_api.h>
#include <vector_types.h>

#include <algorithm>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#define edgeosr edgeosr_kernels
#include <edgeosr/fused_score.h>
// Of the folder kernels/src.
#include "plan.h"
#undef edgeosr

namespace edgeosr {
namespace kernels = ::edgeosr_kernels;
}
