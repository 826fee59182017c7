// In place of NVIDIA's, for tests where it is not: the version that the tests' bundles name.
#pragma once

#define NV_TENSORRT_MAJOR 10
#define NV_TENSORRT_MINOR 3
#define NV_TENSORRT_PATCH 0
#define NV_TENSORRT_VERSION 100300
