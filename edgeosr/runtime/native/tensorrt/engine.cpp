#include "engine.h"

#include <algorithm>
#include <exception>

#include "base/failure.h"

namespace edgeosr::trt {
namespace {

std::unique_ptr<nvinfer1::IRuntime> runtime_of(Library const& library) {
    logger().forget();
    std::uint64_t const before =
        Logger::errors();  // of this thread: another engine's lanes may fail meanwhile
    void* const made = library.create(static_cast<nvinfer1::ILogger*>(&logger()), NV_TENSORRT_VERSION);
    // Where CUDA does not start, such as with a driver that is too old, there is an object all the same, and
    // the first use of it ends the process (TensorRT 10.16 and 11.4): it is left alone, not freed either.
    if (made == nullptr || Logger::errors() != before)
        fail(EDGEOSR_NO_BACKEND,
             "TensorRT ",
             library.version(),
             " could not start: ",
             logger().taken(),
             "; update the NVIDIA driver, or install the TensorRT of its CUDA version; or take the back end "
             "onnxruntime");
    return std::unique_ptr<nvinfer1::IRuntime>(static_cast<nvinfer1::IRuntime*>(made));
}

}  // namespace

Engine::Engine(Cuda const& cuda, edgeosr_tensorrt_bundle const& bundle) : shared_(cuda) {
    shared_.device = find_device(cuda);
    shared_.context = context_of(cuda, shared_.device);
    Within const within(cuda, shared_.context);
    record_ = usable_engine(bundle, shared_.device);
    Bytes const plan = engine_bytes(bundle, record_);
    Library const& library = trt::library(bundle.library);
    try {
        runtime_ = runtime_of(library);
        engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
        if (engine_ == nullptr)
            fail(EDGEOSR_BACKEND_FAILED,
                 "TensorRT ",
                 library.version(),
                 " could not load ",
                 record_.file,
                 ": ",
                 logger().taken(),
                 "; build it again: edgeosr build ",
                 bundle.path);
        shared_.engine = engine_.get();
        shared_.io = engine_io(*engine_, bundle);
        Scorer const scorer =
            read_scorer({static_cast<char const*>(bundle.scorer), bundle.scorer_bytes}, nullptr);
        shared_.parts = scorer.parts.size();
        shared_.dimension = scorer.dimension;
        shared_.classes = scorer.classes;
        shared_.probes = scorer.probes;
        bool const map = bundle.ending == 0, external = scorer.head == Head::kExternal;
        if (scorer.closed_form != map || (scorer.probes > 0) != (bundle.ending == 1) ||
            external != (bundle.logits != 0) || scorer.parts.size() != static_cast<std::size_t>(bundle.parts))
            fail(EDGEOSR_BAD_BUNDLE,
                 "scorer.npz of ",
                 bundle.path,
                 " does not take what its backbone gives; export the bundle again");
        kernel_ = std::make_unique<Kernel>(cuda, shared_.device, scorer);
        shared_.kernel = kernel_.get();
        // A row of 256 bytes for each, as TensorRT takes addresses.
        constexpr std::size_t kApart = 256;
        std::int64_t numbers[2 * kApart / sizeof(std::int64_t)] = {0, 1, 2};
        numbers[kApart / sizeof numbers[0]] = 2;
        numbers[kApart / sizeof numbers[0] + 1] = 1;
        orders_ = DeviceMemory(cuda, sizeof numbers);
        require(cuda.copy_in(orders_.address(), numbers, sizeof numbers, nullptr), "cuMemcpyHtoDAsync");
        require(cuda.synchronize(nullptr), "cuStreamSynchronize");
        shared_.orders[0] = orders_.address();
        shared_.orders[1] = orders_.address() + kApart;
        lanes_.reserve(kMostLanes);
        free_.reserve(kMostLanes);
        lanes_.push_back(std::make_unique<Lane>(shared_));
        free_.push_back(lanes_.back().get());
        made_ = 1;
    } catch (...) {
        // While the context is current: what is a member is freed after this block.
        lanes_.clear();
        orders_ = DeviceMemory();
        kernel_.reset();
        engine_.reset();
        runtime_.reset();
        throw;
    }
    described_ = joined(library.path,
                        " (TensorRT ",
                        library.version(),
                        ", ",
                        shared_.device.name,
                        " ",
                        shared_.device.architecture(),
                        ", ",
                        record_.file,
                        ", ",
                        kernel_->build(),
                        ")");
}

Engine::~Engine() {
    // A lost device refuses all of this, and that is no news.
    Cuda const& cuda = shared_.cuda;
    bool const pushed = cuda.push(shared_.context) == CUDA_SUCCESS;
    lanes_.clear();
    orders_ = DeviceMemory();
    kernel_.reset();
    engine_.reset();
    runtime_.reset();
    CUcontext popped;
    if (pushed) cuda.pop(&popped);
}

void Engine::require_alive() const {
    if (!lost_.empty()) throw Failure(EDGEOSR_BACKEND_FAILED, lost_);
}

Lane* Engine::take(Shape const& first) {
    std::unique_lock<std::mutex> lock(mutex_);
    require_alive();
    if (free_.empty() && patience_ > 0) {
        --patience_;
    } else if (free_.empty() && made_ < kMostLanes) {
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
            patience_ = kPatience;
        }
        if (why != nullptr) std::rethrow_exception(why);
    }
    changed_.wait(lock, [this] { return !free_.empty() || !lost_.empty(); });
    require_alive();
    auto const ready =
        std::find_if(free_.rbegin(), free_.rend(), [&](Lane const* one) { return one->has(first); });
    if (ready != free_.rend()) std::swap(*ready, free_.back());
    Lane* const lane = free_.back();
    free_.pop_back();
    lock.unlock();
    CUresult const pushed = shared_.cuda.push(shared_.context);
    if (pushed != CUDA_SUCCESS) {
        lock.lock();
        free_.push_back(lane);
        lock.unlock();
        changed_.notify_one();  // one that came meanwhile waits for it
        throw CudaError{pushed, "cuCtxPushCurrent"};
    }
    return lane;
}

void Engine::give_back(Lane* lane) noexcept {
    CUcontext popped;
    shared_.cuda.pop(&popped);  // a lost one cannot be popped
    {
        std::lock_guard<std::mutex> const lock(mutex_);
        free_.push_back(lane);
    }
    changed_.notify_one();
}

/// Take a lane from those that there are, unless it is the only one.
std::unique_ptr<Lane> Engine::out_of_use(Lane const* lane) {
    std::lock_guard<std::mutex> const lock(mutex_);
    if (lanes_.size() < 2) return nullptr;
    auto const place =
        std::find_if(lanes_.begin(), lanes_.end(), [&](auto const& one) { return one.get() == lane; });
    std::unique_ptr<Lane> found = std::move(*place);
    lanes_.erase(place);
    --made_;
    patience_ = kPatience;
    return found;
}

std::uint8_t* Engine::room(Lane*& lane, std::size_t count) {
    for (;;) {
        std::unique_ptr<Lane> poor;
        try {
            return lane->room(count);
        } catch (CudaError const& error) {
            if (error.code == CUDA_ERROR_OUT_OF_MEMORY) poor = out_of_use(lane);
            if (poor == nullptr) throw;
        } catch (Failure const& failure) {
            if (failure.status() == EDGEOSR_NO_MEMORY) poor = out_of_use(lane);
            if (poor == nullptr) throw;
        }
        lane = nullptr;
        Call call = std::move(poor->call);
        poor.reset();  // its memory is another one's before that is waited for
        CUcontext popped;
        shared_.cuda.pop(&popped);
        lane = take({static_cast<std::int64_t>(count), call.height, call.width});
        lane->call = std::move(call);
    }
}

void Engine::lose(std::string const& words) {
    {
        std::lock_guard<std::mutex> const lock(mutex_);
        if (lost_.empty()) lost_ = words;
    }
    changed_.notify_all();
}

}  // namespace edgeosr::trt
