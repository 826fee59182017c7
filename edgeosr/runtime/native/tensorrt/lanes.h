// The lanes of an engine: who gets which, and which gives its memory away where there is too little.
//
// A batch for which there is no memory goes on in a lane that has its size, if that one is idle. Else memory
// is let go piece by piece, until it fits: the lane's own sizes, those that were used longest ago first, then
// idle lanes; but only if all of it together, with what the GPU has left, is as much as the batch takes. If
// it is not, a lane that has the size is waited for, and where none has it the call fails; nothing is let go
// then, so that a batch that fits nowhere takes nothing from those that do.
#pragma once

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lane.h"

namespace edgeosr::trt {

/// Calls that run at once; further ones wait. More would share one GPU, and each holds activations.
constexpr std::size_t kMostLanes = 4;
/// Calls that come before what failed for want of memory is tried once more: a further lane, a size in a
/// further lane, a context in the place of another.
constexpr std::size_t kPatience = 100;
/// Sizes at once that calls wait for where they are; of a further one the size is forgotten that is tried
/// once more soonest.
constexpr std::size_t kMostScarce = kMostSlots;

class Lanes {
  public:
    /// Makes the first one. The context must be current, here and at the end. Throws CudaError; Failure.
    explicit Lanes(Machinery const& shared);

    /// Take a lane, whose context is then current on this thread, until give_back; one that has this shape,
    /// if it is free. Throws Failure EDGEOSR_BACKEND_FAILED after lose(); CudaError.
    Lane* take(Shape const& first);
    void give_back(Lane* lane) noexcept;
    /// Return the lane's room for frames, or that of another one, with which the call goes on. lane: null if
    /// none is taken any more.
    std::uint8_t* room(Lane*& lane, std::size_t count);
    /// After an error that CUDA does not recover from, every later call is refused with these words.
    void lose(std::string const& words);

  private:
    using Lock = std::unique_lock<std::mutex>;

    void require_alive() const;
    bool somebody_has(Shape const& shape) const;
    std::vector<Lane*>::iterator free_with(Shape const& shape);
    Lane* taken(Lock& lock, Shape const& first, bool from_those_that_have_it);
    bool counts_as_scarce(Shape const& shape);
    void note_scarce(Shape const& shape);
    void make_another(Lock& lock);
    bool make_way(Lane*& lane, Shape const& shape, bool& gave_context);
    bool would_help(Want const& want, std::size_t left, Held const& held, bool& gave_context);
    std::size_t memory_left(Want const& want) const;
    std::unique_ptr<Lane> out_of_use(std::vector<Lane*>::iterator place);

    Machinery const& shared_;
    std::mutex mutex_;  // of what follows, held for moments
    std::condition_variable changed_;
    std::vector<std::unique_ptr<Lane>> lanes_;  // all of them
    std::vector<Lane*> free_;                   // the one that was used last comes last
    std::size_t made_ = 0;                      // lanes, or being made; kMostLanes at most
    std::string lost_;                          // why no call is taken any more
    // Calls that are still to come, see kPatience.
    std::size_t before_lane_ = 0, before_context_ = 0;
    struct Scarce {
        Shape shape;  // there is no memory for it but where it is
        std::size_t before = 0;
    };
    std::array<Scarce, kMostScarce> scarce_;  // free where none is still to come
};

}  // namespace edgeosr::trt
