#include "slot.h"

#include <cstring>

#include "base/failure.h"
#include "nvinfer.h"

namespace edgeosr::trt {
namespace {

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

/// Do it; where memory is refused, say how much there would have to be.
template <class Allocate>
void taken(Want::Of of,
           std::size_t needed,
           std::size_t& had,
           std::size_t bytes,
           Want& want,
           Allocate const& allocate) {
    try {
        allocate();
    } catch (CudaError const& error) {
        if (error.code == CUDA_ERROR_OUT_OF_MEMORY) want = {of, needed, had, bytes};
        throw;
    }
    had += bytes;
}

}  // namespace

Slot::Slot(
    Machinery const& shared, CUdeviceptr activations, std::int64_t activation_bytes, Shape wanted, Want& want)
    : shape(wanted), shared_(shared), context_(nullptr, LetGo{&shared.making}) {
    want = {};
    prepare(activations, activation_bytes, want);
    allocate(want);
    point();
}

/// Make a context, which tells the size of what is still to be allocated.
void Slot::prepare(CUdeviceptr activations, std::int64_t activation_bytes, Want& want) {
    logger().forget();
    {
        std::lock_guard<std::mutex> const lock(shared_.making);
        context_.reset(shared_.engine->createExecutionContext(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
    }
    if (context_ == nullptr) {
        want.of = Want::Of::kContext;
        fail(EDGEOSR_NO_MEMORY,
             "TensorRT made no execution context, often for want of memory: ",
             logger().taken(),
             "; close other programs on the GPU, or build the engine with a smaller --batch");
    }
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
    set_address(kChannelOrder, shared_.orders[0]);
    launch_ = shared_.kernel->planned(measured());
}

/// Take all memory of it, or say what was missing.
void Slot::allocate(Want& want) {
    Cuda const& cuda = shared_.cuda;
    bool const mapped = shared_.device.integrated;
    verdict_bytes_ = static_cast<std::size_t>(shape.batch) * sizeof(kernels::Verdict);
    kept_bytes_ = mapped ? 0 : verdict_bytes_;
    std::size_t const room = kept_bytes_ + launch_.plan.workspace_bytes;
    cleared_bytes_ = kept_bytes_ + launch_.plan.counter_bytes;
    (mapped ? held_.device : held_.host) += shape.bytes() + verdict_bytes_;
    held_.device += (mapped ? 0 : shape.bytes()) + room;
    for (auto const& name : shared_.io.outputs)
        held_.device += output_bytes(name);
    Held had;
    auto const on_device = [&](DeviceMemory& made, std::size_t bytes) {
        taken(Want::Of::kDevice, held_.device, had.device, bytes, want, [&] {
            made = DeviceMemory(cuda, bytes);
        });
    };
    auto const on_host = [&](HostMemory& made, std::size_t bytes) {
        taken(mapped ? Want::Of::kDevice : Want::Of::kHost,
              mapped ? held_.device : held_.host,
              mapped ? had.device : had.host,
              bytes,
              want,
              [&] { made = HostMemory(cuda, bytes, mapped); });
    };
    // The GPU's first, of which there is mostly less: what was had is given back where more is refused.
    if (!mapped) on_device(device_frames_, shape.bytes());
    for (auto const& name : shared_.io.outputs) {
        outputs_.emplace_back(name, DeviceMemory());
        on_device(outputs_.back().second, output_bytes(name));
    }
    on_device(room_, room);
    on_host(host_frames_, shape.bytes());
    on_host(host_verdicts_, verdict_bytes_);
}

/// Tell the engine and the kernel where all of it lies.
void Slot::point() {
    bool const mapped = shared_.device.integrated;
    frames_ = mapped ? host_frames_.address() : device_frames_.address();
    verdicts_ = mapped ? host_verdicts_.address() : room_.address();
    set_address(kFrames, frames_);
    auto const pointer = [](CUdeviceptr address) {
        return reinterpret_cast<unsigned char*>(static_cast<std::uintptr_t>(address));
    };
    kernels::FusedScoreParams& params = launch_.plan.params;
    params.scorer = pointer(shared_.kernel->weights());
    params.workspace = pointer(room_.address() + kept_bytes_);
    params.verdicts = reinterpret_cast<kernels::FusedVerdict*>(pointer(verdicts_));
    for (auto const& [name, memory] : outputs_) {
        CUdeviceptr const address = memory.address();
        set_address(name.c_str(), address);
        if (name == kMap || name == kEmbedding) params.input = pointer(address);
        if (name == kTangents) params.tangents = pointer(address);
        if (name == kLogits) params.logits = pointer(address);
    }
}

std::size_t Slot::output_bytes(std::string const& name) const {
    nvinfer1::Dims const made = context_->getTensorShape(name.c_str());
    std::size_t bytes = shared_.io.element_bytes(name);
    for (std::int32_t i = 0; i < made.nbDims; ++i)
        bytes *= static_cast<std::size_t>(made.d[i]);
    return bytes;
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

}  // namespace edgeosr::trt
