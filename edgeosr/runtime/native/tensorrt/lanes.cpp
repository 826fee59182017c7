#include "lanes.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/failure.h"

namespace edgeosr::trt {

Lanes::Lanes(Machinery const& shared) : shared_(shared) {
    lanes_.reserve(kMostLanes);
    free_.reserve(kMostLanes);
    lanes_.push_back(std::make_unique<Lane>(shared_));
    free_.push_back(lanes_.back().get());
    made_ = 1;
}

void Lanes::require_alive() const {
    if (!lost_.empty()) throw Failure(EDGEOSR_BACKEND_FAILED, lost_);
}

bool Lanes::somebody_has(Shape const& shape) const {
    return std::any_of(lanes_.begin(), lanes_.end(), [&](auto const& one) { return one->has(shape); });
}

/// The one that was used last of those that are free and have the shape; free_.end() if there is none.
std::vector<Lane*>::iterator Lanes::free_with(Shape const& shape) {
    auto const found =
        std::find_if(free_.rbegin(), free_.rend(), [&](Lane const* one) { return one->has(shape); });
    return found == free_.rend() ? free_.end() : std::prev(found.base());
}

Lane* Lanes::take(Shape const& first) {
    Lock lock(mutex_);
    return taken(lock, first, counts_as_scarce(first));
}

/// Say whether a call of this shape waits for those that have it, and count the call.
bool Lanes::counts_as_scarce(Shape const& shape) {
    for (Scarce& one : scarce_)
        if (one.before > 0 && one.shape == shape) {
            --one.before;
            return true;
        }
    return false;
}

void Lanes::note_scarce(Shape const& shape) {
    auto place = std::find_if(scarce_.begin(), scarce_.end(), [&](Scarce const& one) {
        return one.before > 0 && one.shape == shape;
    });
    if (place == scarce_.end())
        place = std::min_element(scarce_.begin(), scarce_.end(), [](Scarce const& left, Scarce const& right) {
            return left.before < right.before;
        });
    *place = {shape, kPatience};
}

Lane* Lanes::taken(Lock& lock, Shape const& first, bool from_those_that_have_it) {
    require_alive();
    if (from_those_that_have_it)
        changed_.wait(
            lock, [&] { return !lost_.empty() || free_with(first) != free_.end() || !somebody_has(first); });
    if (lost_.empty() && free_.empty()) make_another(lock);
    changed_.wait(lock, [this] { return !free_.empty() || !lost_.empty(); });
    require_alive();
    auto const ready = free_with(first);
    Lane* const lane = ready != free_.end() ? *ready : free_.back();
    free_.erase(ready != free_.end() ? ready : std::prev(free_.end()));
    lock.unlock();
    CUresult const pushed = shared_.cuda.push(shared_.context);
    if (pushed != CUDA_SUCCESS) {
        lock.lock();
        free_.push_back(lane);
        lock.unlock();
        changed_.notify_all();  // one that came meanwhile waits for it
        throw CudaError{pushed, "cuCtxPushCurrent"};
    }
    return lane;
}

/// Make one more, unless there was no memory for that lately.
void Lanes::make_another(Lock& lock) {
    if (before_lane_ > 0) {
        --before_lane_;
        return;
    }
    if (made_ == kMostLanes) return;
    ++made_;
    lock.unlock();
    std::unique_ptr<Lane> made;
    std::exception_ptr why;
    try {
        Within const within(shared_.cuda, shared_.context);
        made = std::make_unique<Lane>(shared_);
    } catch (CudaError const& error) {
        // No memory for one more: the others' lanes are waited for; there is one at least.
        if (is_fatal(error.code)) why = std::current_exception();
    } catch (...) {
        why = std::current_exception();
    }
    lock.lock();
    if (made != nullptr) {
        lanes_.push_back(std::move(made));
        free_.push_back(lanes_.back().get());
    } else {
        --made_;
        before_lane_ = kPatience;
    }
    if (why != nullptr) std::rethrow_exception(why);
}

void Lanes::give_back(Lane* lane) noexcept {
    CUcontext popped;
    shared_.cuda.pop(&popped);  // a lost one cannot be popped
    {
        std::lock_guard<std::mutex> const lock(mutex_);
        free_.push_back(lane);
    }
    changed_.notify_all();  // not each that waits can go on with this one
}

std::uint8_t* Lanes::room(Lane*& lane, std::size_t count) {
    Shape const shape{static_cast<std::int64_t>(count), lane->call.height, lane->call.width};
    for (bool gave_context = false;;) {
        try {
            std::uint8_t* const found = lane->room(count);
            if (lane->has_news()) {
                std::lock_guard<std::mutex> const lock(mutex_);
                lane->tell();
            }
            return found;
        } catch (CudaError const& error) {
            if (error.code != CUDA_ERROR_OUT_OF_MEMORY || !make_way(lane, shape, gave_context)) throw;
        } catch (Failure const& failure) {
            if (failure.status() != EDGEOSR_NO_MEMORY || !make_way(lane, shape, gave_context)) throw;
        }
    }
}

/// After a slot was not made for want of memory: see to it that the next try has more of it, or another lane.
/// False: nothing would help, and nothing was let go.
bool Lanes::make_way(Lane*& lane, Shape const& shape, bool& gave_context) {
    Want const want = lane->want();
    if (want.of == Want::Of::kNothing) return false;
    std::size_t const left = memory_left(want);
    std::unique_ptr<Lane> idle;  // ends after the lock: what it frees may wait for the GPU
    Lock lock(mutex_);
    auto const ready = free_with(shape);
    if (ready != free_.end()) {
        std::swap((*ready)->call, lane->call);
        std::swap(*ready, lane);
        lock.unlock();
        changed_.notify_all();
        return true;
    }
    // Neither page-locked memory nor a context is had of a lane that has judged nothing.
    auto const gives = [&](Lane const* one) { return want.of == Want::Of::kDevice || !one->is_empty(); };
    Held held = lane->of_slots();
    for (Lane const* one : free_)
        if (gives(one)) held += one->held();
    auto const giving = std::find_if(free_.begin(), free_.end(), gives);
    bool const nobody = lane->is_empty() && giving == free_.end();
    if (!nobody && would_help(want, left, held, gave_context)) {
        if (lane->is_empty()) {
            idle = out_of_use(giving);
            return true;
        }
        lock.unlock();
        lane->forget_oldest();
        lock.lock();
        lane->tell();
        return true;
    }
    if (!somebody_has(shape)) return false;
    // It fits where it is, so that one is waited for; this one is of use to others meanwhile.
    note_scarce(shape);
    lock.unlock();
    Call call = std::move(lane->call);
    give_back(std::exchange(lane, nullptr));
    lock.lock();
    lane = taken(lock, shape, true);
    lane->call = std::move(call);
    return true;
}

/// Say whether a slot can be made once what is held is let go. left: beside it.
bool Lanes::would_help(Want const& want, std::size_t left, Held const& held, bool& gave_context) {
    if (want.of != Want::Of::kContext)
        return left + (want.of == Want::Of::kHost ? held.host : held.device) >= want.needed;
    // One context takes what another of the same engine takes: if that is not it, no further one helps.
    if (gave_context) {
        before_context_ = kPatience;
        return false;
    }
    if (before_context_ == 0) return gave_context = true;
    --before_context_;
    return false;
}

/// What there is for a slot before anything is let go.
std::size_t Lanes::memory_left(Want const& want) const {
    std::size_t left = 0, all = 0;
    if (want.of != Want::Of::kDevice || shared_.cuda.memory_left(&left, &all) != CUDA_SUCCESS)
        return want.had;
    // The driver's word, as far as it agrees with what it did: Linux may have more for a GPU that shares its
    // memory, and of what is left not all can be had in one piece.
    return std::clamp(left, want.had, want.had + std::max<std::size_t>(want.refused, 1) - 1);
}

/// Take a free lane from those that there are.
std::unique_ptr<Lane> Lanes::out_of_use(std::vector<Lane*>::iterator place) {
    auto const owned =
        std::find_if(lanes_.begin(), lanes_.end(), [&](auto const& one) { return one.get() == *place; });
    std::unique_ptr<Lane> found = std::move(*owned);
    lanes_.erase(owned);
    free_.erase(place);
    --made_;
    before_lane_ = kPatience;
    return found;
}

void Lanes::lose(std::string const& words) {
    {
        std::lock_guard<std::mutex> const lock(mutex_);
        if (lost_.empty()) lost_ = words;
    }
    changed_.notify_all();
}

}  // namespace edgeosr::trt
