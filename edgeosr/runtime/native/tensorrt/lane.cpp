#include "lane.h"

#include <algorithm>
#include <cstring>

#include "base/failure.h"
#include "nvinfer.h"

namespace edgeosr::trt {
namespace {

constexpr std::uint32_t kWritten = kernels::kWritten;

[[noreturn]] void refused(std::string const& what) {
    fail(EDGEOSR_BACKEND_FAILED,
         "TensorRT ",
         what,
         ": ",
         logger().taken(),
         "; build the engine again (edgeosr build BUNDLE), or take the back end onnxruntime");
}

std::string listed(nvinfer1::Dims const& dims) {
    std::string text = "[";
    for (std::int32_t i = 0; i < dims.nbDims; ++i)
        text += joined(i > 0 ? ", " : "", dims.d[i]);
    return text + "]";
}

}  // namespace

Slot::Slot(Machinery const& shared, CUdeviceptr activations, std::int64_t activation_bytes, Shape wanted)
    : shape(wanted), shared_(shared), context_(nullptr, LetGo{&shared.making}) {
    Cuda const& cuda = shared.cuda;
    bool const mapped = shared.device.integrated;
    auto const batch = static_cast<std::size_t>(shape.batch);
    host_frames_ = HostMemory(cuda, shape.bytes(), mapped);
    if (!mapped) device_frames_ = DeviceMemory(cuda, shape.bytes());
    frames_ = mapped ? host_frames_.address() : device_frames_.address();
    logger().forget();
    {
        std::lock_guard<std::mutex> const lock(shared.making);
        context_.reset(shared.engine->createExecutionContext(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
    }
    if (context_ == nullptr)
        fail(EDGEOSR_NO_MEMORY,
             "TensorRT made no execution context, often for want of memory: ",
             logger().taken(),
             "; close other programs on the GPU, or build the engine with a smaller --batch");
    context_->setDeviceMemoryV2(reinterpret_cast<void*>(static_cast<std::uintptr_t>(activations)),
                                activation_bytes);
    nvinfer1::Dims dims{};
    dims.nbDims = 4;
    dims.d[0] = static_cast<decltype(dims.d[0] + 0)>(shape.batch);
    dims.d[1] = static_cast<decltype(dims.d[0] + 0)>(shape.height);
    dims.d[2] = static_cast<decltype(dims.d[0] + 0)>(shape.width);
    dims.d[3] = 3;
    if (!context_->setInputShape(kFrames, dims))
        refused(joined("refused frames of ", listed(dims), ", which the profile has"));
    set_address(kFrames, frames_);
    set_address(kChannelOrder, shared.orders[0]);
    launch_ = shared.kernel->planned(measured());
    verdict_bytes_ = batch * sizeof(kernels::Verdict);
    std::size_t const kept = mapped ? 0 : verdict_bytes_;
    host_verdicts_ = HostMemory(cuda, verdict_bytes_, mapped);
    room_ = DeviceMemory(cuda, kept + launch_.plan.workspace_bytes);
    cleared_bytes_ = kept + launch_.plan.counter_bytes;
    verdicts_ = mapped ? host_verdicts_.address() : room_.address();
    auto const pointer = [](CUdeviceptr address) {
        return reinterpret_cast<unsigned char*>(static_cast<std::uintptr_t>(address));
    };
    kernels::FusedScoreParams& params = launch_.plan.params;
    params.scorer = pointer(shared.kernel->weights());
    params.workspace = pointer(room_.address() + kept);
    params.verdicts = reinterpret_cast<kernels::FusedVerdict*>(pointer(verdicts_));
    for (auto const& name : shared.io.outputs) {
        nvinfer1::Dims const made = context_->getTensorShape(name.c_str());
        std::size_t bytes = shared.io.element_bytes(name);
        for (std::int32_t i = 0; i < made.nbDims; ++i)
            bytes *= static_cast<std::size_t>(made.d[i]);
        outputs_.emplace_back(name, DeviceMemory(cuda, bytes));
        CUdeviceptr const address = outputs_.back().second.address();
        set_address(name.c_str(), address);
        if (name == kMap || name == kEmbedding) params.input = pointer(address);
        if (name == kTangents) params.tangents = pointer(address);
        if (name == kLogits) params.logits = pointer(address);
    }
}

/// What the engine gives for this shape, as the kernel is told; every size is held against the scorer's.
kernels::ScoreInput Slot::measured() const {
    kernels::ScoreInput made;
    made.batch = static_cast<int>(shape.batch);
    made.half = shared_.io.half ? 1 : 0;
    made.probes = static_cast<int>(shared_.probes);
    for (auto const& name : shared_.io.outputs) {
        nvinfer1::Dims const dims = context_->getTensorShape(name.c_str());
        std::vector<std::int64_t> wanted{shape.batch, static_cast<std::int64_t>(shared_.dimension)};
        if (name == kTangents) wanted.insert(wanted.begin(), static_cast<std::int64_t>(shared_.probes));
        if (name == kLogits) wanted[1] = static_cast<std::int64_t>(shared_.classes);
        auto const rank = static_cast<std::size_t>(name == kMap ? 4 : wanted.size());
        bool good = dims.nbDims == static_cast<std::int32_t>(rank);
        for (std::size_t i = 0; good && i < rank; ++i)
            good = i < wanted.size() ? dims.d[i] == wanted[i] : dims.d[i] >= 1;
        if (!good)
            fail(EDGEOSR_BACKEND_FAILED,
                 "the engine's ",
                 name,
                 " must have a row for each of ",
                 shape.batch,
                 " frame(s), of the scorer's length ",
                 wanted.back(),
                 name == kMap ? ", and a height and a width" : "",
                 "; got ",
                 listed(dims),
                 "; build it again: edgeosr build BUNDLE");
        if (name == kMap) {
            made.height = static_cast<int>(dims.d[2]);
            made.width = static_cast<int>(dims.d[3]);
        }
    }
    return made;
}

void Slot::set_address(char const* name, CUdeviceptr address) {
    if (!context_->setTensorAddress(name, reinterpret_cast<void*>(static_cast<std::uintptr_t>(address))))
        refused(joined("refused an address for ", name));
}

void Slot::enqueue(CUstream stream, bool bgr) {
    Cuda const& cuda = shared_.cuda;
    bool const mapped = shared_.device.integrated;
    if (bgr != bgr_) set_address(kChannelOrder, shared_.orders[bgr ? 1 : 0]);
    bgr_ = bgr;
    if (!mapped)
        require(cuda.copy_in(frames_, host_frames_.data(), shape.bytes(), stream), "cuMemcpyHtoDAsync");
    logger().forget();
    if (!context_->enqueueV3(stream)) {
        // A device that is lost shows here; TensorRT says no more than false.
        require(cuda.synchronize(stream), "cuStreamSynchronize");
        refused(joined("could not run the engine on ", shape.batch, " frame(s)"));
    }
    // Verdicts that are not written must show; the counters each launch leaves at zero itself.
    std::memset(host_verdicts_.data(), 0, verdict_bytes_);
    if (!mapped || !counters_clear_)
        require(cuda.clear(room_.address(), 0, cleared_bytes_ / 4, stream), "cuMemsetD32Async");
    counters_clear_ = true;
    shared_.kernel->launch(launch_, stream);
    if (!mapped)
        require(cuda.copy_out(host_verdicts_.data(), verdicts_, verdict_bytes_, stream), "cuMemcpyDtoHAsync");
}

Lane::Lane(Machinery const& shared)
    : shared_(shared), activation_bytes_(shared.engine->getDeviceMemorySizeV2()) {
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
    slots_.reserve(kMostSlots + 1);
    for (bool made = false; !made;) {
        try {
            slots_.push_back(
                std::make_unique<Slot>(shared_, activations_.address(), activation_bytes_, shape));
            made = true;
        } catch (CudaError const& error) {
            if (error.code != CUDA_ERROR_OUT_OF_MEMORY || slots_.empty()) throw;
        } catch (Failure const& failure) {  // a context that TensorRT did not make
            if (failure.status() != EDGEOSR_NO_MEMORY || slots_.empty()) throw;
        }
        // Only now, for there may be room for all: the size that was used longest ago.
        if (!made || slots_.size() > kMostSlots) slots_.erase(slots_.begin());
    }
    return *slots_.back();
}

bool Lane::has(Shape const& shape) const {
    return std::any_of(slots_.begin(), slots_.end(), [&](auto const& slot) { return slot->shape == shape; });
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
