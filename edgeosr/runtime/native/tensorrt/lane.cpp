#include "lane.h"

#include <algorithm>

#include "base/failure.h"

namespace edgeosr::trt {
namespace {

constexpr std::uint32_t kWritten = kernels::kWritten;

}  // namespace

Lane::Lane(Machinery const& shared)
    : shared_(shared), activation_bytes_(shared.engine->getDeviceMemorySizeV2()) {
    slots_.reserve(kMostSlots + 1);
    told_.reserve(kMostSlots);
    // The stream first: memory that is given back would wait for what other lanes are doing.
    require(shared.cuda.make_stream(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    try {
        activations_ =
            DeviceMemory(shared.cuda, static_cast<std::size_t>(std::max<std::int64_t>(activation_bytes_, 1)));
    } catch (...) {
        shared.cuda.destroy_stream(stream_);
        throw;
    }
}

Lane::~Lane() {
    if (busy_) shared_.cuda.synchronize(stream_);
    slots_.clear();
    shared_.cuda.destroy_stream(stream_);
}

void Lane::begin(std::size_t count, std::int64_t height, std::int64_t width) {
    auto const least = static_cast<std::size_t>(shared_.io.least.batch),
               most = static_cast<std::size_t>(shared_.io.most.batch);
    std::size_t const rest = count % most;
    shared_.io.require_frames(
        height, width, static_cast<std::int64_t>(rest > 0 ? rest : std::max(least, most)));
    call.height = height;
    call.width = width;
    call.done = 0;
    if (call.label.size() >= count) return;
    // The labels last: their number says that there is room for all, also after a growth without memory.
    call.score.resize(count);
    call.values.resize(count * shared_.parts);
    call.label.resize(count);
}

std::uint8_t* Lane::room(std::size_t count) {
    want_ = {};
    settle();  // the stream may still read what was put there
    slot_ = &slot_for({static_cast<std::int64_t>(count), call.height, call.width});
    return slot_->frames();
}

void Lane::judge(bool bgr) {
    busy_ = true;
    slot_->enqueue(stream_, bgr);
    settle();
    take_rows();
}

/// Wait for what an earlier run left in the stream.
void Lane::settle() {
    if (!busy_) return;
    require(shared_.cuda.synchronize(stream_), "cuStreamSynchronize");
    busy_ = false;
}

Slot& Lane::slot_for(Shape const& shape) {
    for (auto slot = slots_.begin(); slot != slots_.end(); ++slot)
        if ((*slot)->shape == shape) {
            std::rotate(slot, slot + 1, slots_.end());
            return *slots_.back();
        }
    slots_.push_back(
        std::make_unique<Slot>(shared_, activations_.address(), activation_bytes_, shape, want_));
    if (slots_.size() > kMostSlots) forget_oldest();  // only now: until it is made, all are of use
    ++slots_changed_;
    return *slots_.back();
}

Held Lane::of_slots() const {
    Held made;
    for (auto const& slot : slots_)
        made += slot->held();
    return made;
}

Held Lane::held() const {
    Held made = of_slots();
    made.device += static_cast<std::size_t>(activation_bytes_);
    return made;
}

void Lane::forget_oldest() {
    slots_.erase(slots_.begin());
    ++slots_changed_;
}

void Lane::tell() {
    told_.clear();
    for (auto const& slot : slots_)
        told_.push_back(slot->shape);
    told_changes_ = slots_changed_;
}

bool Lane::has(Shape const& shape) const {
    return std::find(told_.begin(), told_.end(), shape) != told_.end();
}

/// Turn the verdicts of the run into rows behind those that are there.
void Lane::take_rows() {
    auto const count = static_cast<std::size_t>(slot_->shape.batch);
    for (std::size_t i = 0; i < count; ++i) {
        kernels::Verdict const& one = slot_->verdicts()[i];
        bool const written = (one.flags & kWritten) != 0;
        if (!written || one.layout != (kernels::kVerdictVersion | shared_.parts << 16)) {
            slot_->begin_anew();
            fail(EDGEOSR_BACKEND_FAILED,
                 "a verdict was not written as it must be: the fused kernel did not run to its end, or is of "
                 "another version; look for an earlier CUDA error, or make its builds again: python -m "
                 "edgeosr.kernels.build_cubins");
        }
        call.label[call.done] = one.label;
        call.score[call.done] = one.score;
        std::copy_n(one.value, shared_.parts, call.values.data() + call.done * shared_.parts);
        ++call.done;
    }
}

}  // namespace edgeosr::trt
