// A network out of arithmetic behind nvinfer_double.cpp, and what stands in for the fused kernel: the verdict
// of a frame is made of all of its pixels, so that one of another frame, or of half a frame, is seen.
#pragma once

#include <cstdint>

namespace engine {

// A frame of kHeight, or of up to kMostHeight: the taller, the larger the map.
constexpr int kHeight = 20, kMostHeight = 35, kWidth = 30, kMostFrames = 12, kClasses = 4;

struct Verdict {
    std::int32_t label;
    float score;
};

/// What the engine of a plan says of a frame, uint8 [height, kWidth, 3]. plan: its first letter. The same
/// formula is in sanitizers_tensorrt.py, for the golden frames.
Verdict verdict_of(std::uint8_t const* pixels, int height, bool bgr, char plan);

/// Make the doubles of libnvinfer and of the card call this; before the plug-in is opened.
void install();

/// Let TensorRT refuse this once: "start", "load", "context", "shape", "address" or "enqueue".
void refuse(char const* what);
/// Say whether it was not asked for that, and forget it.
bool was_spared();

/// Of TensorRT's objects, those that were made and are not freed.
long alive();

}  // namespace engine
