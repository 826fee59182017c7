// What one call at a time uses of an engine: a stream, activation memory, and for each size of batch and
// frame a slot. Nothing is allocated after the first run of a size, of the last kMostSlots. For want of
// memory a lane lets nothing go of itself: whether that would help depends on all of them (lanes.h).
#pragma once

#include <memory>
#include <vector>

#include "slot.h"

namespace edgeosr::trt {

/// Sizes of batch and frame that a lane keeps ready; a further one takes the place of the oldest.
constexpr std::size_t kMostSlots = 8;

/// What a lane has of the call that it is taken for; the room for rows stays for the next one.
struct Call {
    std::int64_t height = 0, width = 0;
    std::size_t done = 0;  // rows that are there
    std::vector<std::int64_t> label;
    std::vector<float> score, values;
};

class Lane {
  public:
    /// The context must be current. Throws CudaError; Failure.
    explicit Lane(Machinery const& shared);
    ~Lane();
    Lane(Lane const&) = delete;
    Lane& operator=(Lane const&) = delete;

    /// Make room for the rows of a call, of `count` frames.
    void begin(std::size_t count, std::int64_t height, std::int64_t width);
    /// Where frames go; makes a slot for a size that is new. Throws CudaError CUDA_ERROR_OUT_OF_MEMORY, or
    /// Failure EDGEOSR_NO_MEMORY, and then want() tells of what.
    std::uint8_t* room(std::size_t count);
    Want const& want() const { return want_; }
    void judge(bool bgr);
    /// What its slots take, of a lane that is this thread's or that nobody has taken; held(): all of it.
    Held of_slots() const;
    Held held() const;
    bool is_empty() const { return slots_.empty(); }
    /// Let the size go that was used longest ago.
    void forget_oldest();
    /// Say whether its sizes are others than those it has told.
    bool has_news() const { return slots_changed_ != told_changes_; }

    /// Note its sizes for other threads. Only with the mutex of the lanes; so has().
    void tell();
    /// Say whether a run of this shape allocates nothing, by what was told last.
    bool has(Shape const& shape) const;

    Call call;

  private:
    void settle();
    Slot& slot_for(Shape const& shape);
    void take_rows();

    Machinery const& shared_;
    CUstream stream_ = nullptr;
    std::int64_t activation_bytes_ = 0;
    DeviceMemory activations_;
    std::vector<std::unique_ptr<Slot>> slots_;  // the one that was used last comes last
    Slot* slot_ = nullptr;                      // of the run that is being made
    bool busy_ = false;                         // what the stream holds was not waited for
    Want want_;
    std::vector<Shape> told_;  // the slots' sizes
    std::size_t slots_changed_ = 0, told_changes_ = 0;
};

}  // namespace edgeosr::trt
