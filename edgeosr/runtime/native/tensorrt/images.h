// Which build of the fused kernel a GPU gets: a cubin that was built ahead, or PTX (kernels/build/images.py;
// nothing is compiled here).
#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "driver.h"

namespace edgeosr::trt {

struct Image {
    Bytes data;  // ends with a zero, as PTX must
    std::string name;
    int architecture = 0;  // that it was compiled for, 75 of PTX for compute_75
};

/// Return the build for a GPU from the first folder that holds builds of this plug-in's kernel source:
/// EDGEOSR_CUBINS, `cubins` beside the plug-in, those of an edgeosr that is installed or checked out around
/// it. Throws Failure: EDGEOSR_NO_BACKEND with what was looked for, or for a relative EDGEOSR_CUBINS.
Image image_for(Device const& device);

}  // namespace edgeosr::trt
