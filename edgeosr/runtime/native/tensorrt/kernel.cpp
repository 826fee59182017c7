#include "kernel.h"

#include "base/failure.h"
#include "images.h"
#include "packing.h"

namespace edgeosr::trt {
namespace {

// In the order of HostPlan::entry.
char const* const kEntries[] = {"fused_score_map_mma_f16",
                                "fused_score_map_mma_f32",
                                "fused_score_map_fma_f16",
                                "fused_score_map_fma_f32",
                                "fused_score_tangents_mma_f16",
                                "fused_score_tangents_mma_f32",
                                "fused_score_tangents_fma_f16",
                                "fused_score_tangents_fma_f32",
                                "fused_score_map_cluster_f16",
                                "fused_score_map_cluster_f32",
                                "fused_score_tangents_cluster_f16",
                                "fused_score_tangents_cluster_f32"};

bool has_tensor_cores(Device const& device) {
    return device.major > 7 || (device.major == 7 && device.minor >= 5);
}

/// Say whether a module was refused for what it is; anything else is the device's.
bool is_of_the_build(CUresult code) {
    for (CUresult each : {CUDA_ERROR_INVALID_IMAGE,
                          CUDA_ERROR_NO_BINARY_FOR_GPU,
                          CUDA_ERROR_INVALID_PTX,
                          CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
                          CUDA_ERROR_JIT_COMPILER_NOT_FOUND,
                          CUDA_ERROR_JIT_COMPILATION_DISABLED})
        if (code == each) return true;
    return false;
}

constexpr int kClustersFrom = 90;  // the architecture, as EDGEOSR_CLUSTERS of kernels/src/cluster.cuh

/// One launch of a plan in clusters; size: kept by the caller as long as this.
CUlaunchConfig in_clusters(kernels::HostPlan const& plan, CUstream stream, CUlaunchAttribute& size) {
    size.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    size.value.clusterDim.x = static_cast<unsigned>(plan.cluster);
    size.value.clusterDim.y = size.value.clusterDim.z = 1;
    CUlaunchConfig config{};
    config.gridDimX = static_cast<unsigned>(plan.blocks);
    config.blockDimX = kernels::kThreads;
    config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
    config.sharedMemBytes = static_cast<unsigned>(plan.shared_bytes);
    config.hStream = stream;
    config.attrs = &size;
    config.numAttrs = 1;
    return config;
}

}  // namespace

Kernel::Kernel(Cuda const& cuda, Device const& device, Scorer const& scorer)
    : cuda_(cuda), architecture_(10 * device.major + device.minor), multiprocessors_(device.multiprocessors) {
    std::vector<std::uint8_t> const file = packed_scorer(scorer, has_tensor_cores(device));
    std::size_t const data_at = kernels::read_packed_scorer(file.data(), file.size(), &packed_);
    if (data_at == 0)
        fail(EDGEOSR_INTERNAL, "the packed scorer is not as the fused kernel reads it; please report this");
    Image const image = image_for(device);
    build_ = image.name;
    clusters_ = image.architecture >= kClustersFrom;
    CUresult const loaded = cuda_.load(&module_, image.data.data());
    if (is_of_the_build(loaded))
        fail(EDGEOSR_NO_BACKEND,
             "the driver does not load the fused kernel's build ",
             build_,
             " (",
             described(cuda_, {loaded, "cuModuleLoadData"}),
             "); make the builds again: python -m edgeosr.kernels.build_cubins");
    require(loaded, "cuModuleLoadData");
    try {
        std::size_t const bytes = file.size() - data_at;
        require(cuda_.allocate(&weights_, bytes), "cuMemAlloc");
        require(cuda_.copy_in(weights_, file.data() + data_at, bytes, nullptr), "cuMemcpyHtoDAsync");
        require(cuda_.synchronize(nullptr), "cuStreamSynchronize");  // other streams do not wait for this one
    } catch (...) {
        free();
        throw;
    }
}

Kernel::~Kernel() {
    free();
}

void Kernel::free() {
    if (weights_ != 0) cuda_.free(weights_);
    if (module_ != nullptr) cuda_.unload(module_);
}

Launch Kernel::planned(kernels::ScoreInput input) {
    input.architecture = architecture_;
    input.multiprocessors = multiprocessors_;
    Launch made = planned_with(input, clusters_);
    return made.plan.cluster == 1 || has_place(made) ? made : planned_with(input, false);
}

/// Say whether the device has a place for one cluster: a slice of a device may have too few multiprocessors
/// that reach one another, and an old driver knows of none.
bool Kernel::has_place(Launch const& made) const {
    if (cuda_.launch_in_clusters == nullptr || cuda_.clusters_at_once == nullptr) return false;
    CUlaunchAttribute size{};
    CUlaunchConfig const config = in_clusters(made.plan, nullptr, size);
    int clusters = 0;
    return cuda_.clusters_at_once(&clusters, made.function, &config) == CUDA_SUCCESS && clusters > 0;
}

Launch Kernel::planned_with(kernels::ScoreInput const& input, bool clusters) {
    Launch made;
    if (char const* const words =
            kernels::make_plan(packed_, input, &made.plan, kernels::built_in_plans(), clusters))
        fail(EDGEOSR_BACKEND_FAILED,
             "the fused kernel does not take what the engine gives: ",
             words,
             "; build it again: edgeosr build BUNDLE, or take the back end onnxruntime");
    char const* const name = kEntries[made.plan.entry];
    CUresult const found = cuda_.function(&made.function, module_, name);
    if (found == CUDA_ERROR_NOT_FOUND)
        fail(EDGEOSR_NO_BACKEND,
             "the fused kernel's build ",
             build_,
             " has no entry ",
             name,
             ": it was made from another source; make it again: python -m edgeosr.kernels.build_cubins");
    require(found, "cuModuleGetFunction");
    std::lock_guard<std::mutex> const lock(mutex_);
    std::size_t& allowed = shared_allowed_[made.plan.entry];
    if (made.plan.shared_bytes > allowed) {
        require(cuda_.set_attribute(made.function,
                                    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                    static_cast<int>(made.plan.shared_bytes)),
                "cuFuncSetAttribute");
        allowed = made.plan.shared_bytes;
    }
    return made;
}

void Kernel::launch(Launch& made, CUstream stream) const {
    void* arguments[] = {&made.plan.params};
    if (made.plan.cluster > 1) {
        CUlaunchAttribute size{};
        CUlaunchConfig const config = in_clusters(made.plan, stream, size);
        require(cuda_.launch_in_clusters(&config, made.function, arguments, nullptr), "cuLaunchKernelEx");
        return;
    }
    require(cuda_.launch(made.function,
                         static_cast<unsigned>(made.plan.blocks),
                         1,
                         1,
                         kernels::kThreads,
                         1,
                         1,
                         static_cast<unsigned>(made.plan.shared_bytes),
                         stream,
                         arguments,
                         nullptr),
            "cuLaunchKernel");
}

}  // namespace edgeosr::trt
