#include "engine.h"

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
        lanes_ = std::make_unique<Lanes>(shared_);
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
    } catch (...) {
        end();  // while the context is current
        throw;
    }
}

Engine::~Engine() {
    // A lost device refuses all of this, and that is no news.
    Cuda const& cuda = shared_.cuda;
    bool const pushed = cuda.push(shared_.context) == CUDA_SUCCESS;
    end();
    CUcontext popped;
    if (pushed) cuda.pop(&popped);
}

/// Free all of it, each before what it is made with.
void Engine::end() {
    lanes_.reset();
    orders_ = DeviceMemory();
    kernel_.reset();
    engine_.reset();
    runtime_.reset();
}

}  // namespace edgeosr::trt
