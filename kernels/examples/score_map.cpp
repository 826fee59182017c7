// Scores a batch of maps from files: score_map SCORER.bin MAP.f16 HEIGHT WIDTH
// SCORER.bin: python -m edgeosr.kernels.packed_file; MAP.f16: [B, D, HEIGHT, WIDTH] in fp16.
#include <edgeosr/fused_score.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

static void check(cudaError_t error, char const* call) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "%s: %s\n", call, cudaGetErrorString(error));
    std::exit(1);
}
#define CHECK(call) check(call, #call)

static std::vector<char> read(char const* path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

static void* on_device(void const* bytes, std::size_t size) {
    void* memory = nullptr;
    CHECK(cudaMalloc(&memory, size));
    if (bytes) CHECK(cudaMemcpy(memory, bytes, size, cudaMemcpyHostToDevice));
    return memory;
}

int main(int count, char** words) {
    if (count != 5) return std::fprintf(stderr, "usage: score_map SCORER.bin MAP.f16 HEIGHT WIDTH\n"), 2;
    std::vector<char> const file = read(words[1]), map = read(words[2]);
    edgeosr::PackedScorer scorer;
    std::size_t const data_at = edgeosr::read_packed_scorer(file.data(), file.size(), &scorer);
    if (!data_at) return std::fprintf(stderr, "%s is not a packed scorer of this version\n", words[1]), 1;

    edgeosr::ScoreInput input;
    input.height = std::atoi(words[3]);
    input.width = std::atoi(words[4]);
    int const sample_bytes = 2 * scorer.dimension * input.height * input.width;
    input.batch = sample_bytes > 0 ? static_cast<int>(map.size()) / sample_bytes : 0;
    int device = 0, major = 0, minor = 0;
    if (cudaGetDevice(&device) == cudaSuccess) {  // small batches are spread over its multiprocessors
        cudaDeviceGetAttribute(&input.multiprocessors, cudaDevAttrMultiProcessorCount, device);
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
        input.architecture = 10 * major + minor;  // a plan measured on such a device, where there is one
    }
    edgeosr::ScorePlan plan;
    if (char const* why = edgeosr::plan_fused_score(scorer, input, &plan))
        return std::fprintf(stderr, "%s\n", why), 1;

    cudaStream_t stream;
    CHECK(cudaStreamCreate(&stream));
    void* const weights = on_device(file.data() + data_at, scorer.data_bytes);
    void* const workspace = on_device(nullptr, plan.workspace_bytes);
    std::vector<edgeosr::Verdict> verdicts(static_cast<std::size_t>(input.batch));
    std::size_t const verdict_bytes = verdicts.size() * sizeof(edgeosr::Verdict);
    auto* const on_gpu = static_cast<edgeosr::Verdict*>(on_device(nullptr, verdict_bytes));
    input.data = on_device(map.data(), map.size());

    CHECK(edgeosr::init_fused_score(plan, workspace, stream));
    CHECK(edgeosr::launch_fused_score(scorer, weights, input, workspace, on_gpu, stream));
    CHECK(cudaMemcpyAsync(verdicts.data(), on_gpu, verdict_bytes, cudaMemcpyDeviceToHost, stream));
    CHECK(cudaStreamSynchronize(stream));
    for (edgeosr::Verdict const& verdict : verdicts) {
        bool const accepted = (verdict.flags & 3u) == 3u;  // written and accepted
        std::printf("%s class %d score %.6g parts",
                    accepted ? "accepted" : "unknown ",
                    verdict.label,
                    static_cast<double>(verdict.score));
        for (int part = 0; part < scorer.parts; ++part)
            std::printf(" %.6g", static_cast<double>(verdict.value[part]));
        std::printf("\n");
    }
}
