// What a slot takes of memory, and what it wanted where there was too little: from it follows whether memory
// that others hold would help.
#pragma once

#include <cstddef>

namespace edgeosr::trt {

/// Bytes of the GPU's memory, and of page-locked memory of the host; of a GPU that shares it all are its own.
struct Held {
    std::size_t device = 0, host = 0;

    Held& operator+=(Held const& other) {
        device += other.device;
        host += other.host;
        return *this;
    }
};

/// What was missing for the slot that was not made.
struct Want {
    // kContext: TensorRT made no context, and does not say of what it wanted more. kNothing: nothing of ours.
    enum class Of { kNothing, kDevice, kHost, kContext } of = Of::kNothing;
    std::size_t needed = 0;   // of that memory, by the whole slot
    std::size_t had = 0;      // of it, when more was refused
    std::size_t refused = 0;  // the piece that was
};

}  // namespace edgeosr::trt
