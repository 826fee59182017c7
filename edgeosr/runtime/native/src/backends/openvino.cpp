#include "backends/openvino.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <vector>

#include "backends/openvino_library.h"
#include "backends/openvino_plan.h"
#include "scoring/score.h"

namespace edgeosr {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostContexts = 1024, kMostSizes = 16, kLine = 64;
constexpr double kMostSeconds = 1e6;

/// A thing of the library's that is freed by a function of it.
template <class Thing>
class Owned {
  public:
    explicit Owned(void (*free)(Thing*)) : free_(free) {}
    ~Owned() {
        if (thing_ != nullptr) free_(thing_);
    }
    Owned(Owned const&) = delete;
    Owned& operator=(Owned const&) = delete;
    Thing* get() const { return thing_; }
    Thing** out() { return &thing_; }

  private:
    void (*free_)(Thing*);
    Thing* thing_ = nullptr;
};

/// What one call at a time uses: a network of its own, so that no call waits for another's inference.
struct Context {
    explicit Context(ov::Api const& api)
        : compiled(api.free_compiled), request(api.free_request), pixels(api.free_tensor) {}

    Owned<ov::Compiled> compiled;
    Owned<ov::Request> request;
    Owned<ov::Tensor> pixels;
    std::vector<std::unique_ptr<Owned<ov::Tensor>>> outputs;
    std::vector<std::uint8_t> scratch;
    ScoreScratch scoring;
    std::vector<std::int64_t> label;
    std::vector<float> score, values;
};

class OpenVino final : public Backend {
  public:
    OpenVino(ov::Library const& library, Bundle const& bundle, BackendOptions const& options, Plan plan)
        : library_(library),
          api_(library.api),
          input_(bundle.manifest.preprocessing),
          parts_(bundle.manifest.fusion.parts.size()),
          threads_(options.threads),
          plan_(std::move(plan)),
          model_(api_.free_model) {
        if (plan_.body) scorer_ = scorer_for(bundle, *bundle.manifest.body);
        char const* const file = plan_.body ? "body.onnx" : "model.onnx";
        require(api_.read_model(library_.core, plan_.model.data(), plan_.model.size(), nullptr, model_.out()),
                joined("read ", file));
        plan_.model = std::string();
        std::int64_t const shape[4] = {1, 3, input_.height_px, input_.width_px};
        ov::PartialShape fixed{};
        require(api_.create_shape(4, shape, &fixed), "make a shape");
        int const status = api_.reshape_input(model_.get(), fixed);
        api_.free_partial_shape(&fixed);
        require(status, joined("fix the input of ", file));
        free_.reserve(kMostContexts);
        give_back(make_context());
    }

    char const* name() const override { return "openvino"; }
    bool runs_body() const override { return plan_.body; }
    std::string library() const override {
        char const* const precision = !plan_.body ? "f32" : plan_.bf16 ? "bf16" : "int8";
        return joined(library_.path, " (OpenVINO ", library_.version, ", ", precision, ")");
    }

    void run(Frames const& frames, RowSink& sink, double limit_s) override {
        auto const front_end = front_end_for(frames.height_px(), frames.width_px());
        std::unique_ptr<Context> context = take_context();
        std::size_t const count = frames.count(), room = front_end->scratch_bytes() + kLine;
        if (context->scratch.size() < room) context->scratch.resize(room);
        if (context->label.size() < count) {
            context->label.resize(count);
            context->score.resize(count);
            context->values.resize(count * parts_);
        }
        auto const start = reinterpret_cast<std::uintptr_t>(context->scratch.data());
        void* const scratch = context->scratch.data() + (kLine - start % kLine) % kLine;
        for (std::size_t i = 0; i < count; ++i) {
            front_end->run(frames.at(i), scratch, static_cast<float*>(data_of(context->pixels)));
            infer(*context, limit_s);
            collect(*context, i);
        }
        sink.take({context->label.data(), context->score.data(), context->values.data(), count});
        give_back(std::move(context));
    }

  private:
    void require(int status, std::string const& what) const { ov::require(library_, status, what); }

    std::unique_ptr<Context> make_context() {
        std::lock_guard<std::mutex> const lock(making_);
        auto made = std::make_unique<Context>(api_);
        // A thread that is bound to one processor waits for whatever else runs there. Int8 layers are int8 by
        // their Q/DQ pairs; what is between them stays float32. The last pair only where threads are named.
        std::string const threads = joined(threads_);
        require(api_.compile(library_.core,
                             model_.get(),
                             "CPU",
                             threads_ > 0 ? std::size_t{10} : std::size_t{8},
                             made->compiled.out(),
                             "INFERENCE_PRECISION_HINT",
                             plan_.bf16 ? "bf16" : "f32",
                             "NUM_STREAMS",
                             "1",
                             "PERFORMANCE_HINT",
                             "LATENCY",
                             "ENABLE_CPU_PINNING",
                             "NO",
                             "INFERENCE_NUM_THREADS",
                             threads.c_str()),
                "compile the network");
        require(api_.create_request(made->compiled.get(), made->request.out()), "make a request");
        require(api_.tensor(made->request.get(), "pixels", made->pixels.out()), "give its input");
        require_bytes(
            made->pixels,
            12 * static_cast<std::size_t>(input_.height_px) * static_cast<std::size_t>(input_.width_px));
        for (auto name : plan_.outputs) {
            made->outputs.push_back(std::make_unique<Owned<ov::Tensor>>(api_.free_tensor));
            require(api_.tensor(made->request.get(), name, made->outputs.back()->out()), "give its outputs");
        }
        return made;
    }

    void require_bytes(Owned<ov::Tensor> const& tensor, std::size_t wanted) const {
        std::size_t found = 0;
        require(api_.tensor_bytes(tensor.get(), &found), "measure a tensor");
        if (found != wanted)
            fail(EDGEOSR_BACKEND_FAILED,
                 "OpenVINO gave a tensor of ",
                 found,
                 " bytes instead of ",
                 wanted,
                 "; take the back end onnxruntime, or another version of OpenVINO");
    }

    void* data_of(Owned<ov::Tensor> const& tensor) const {
        void* data = nullptr;
        require(api_.tensor_data(tensor.get(), &data), "give a tensor's memory");
        return data;
    }

    void infer(Context& context, double limit_s) const {
        if (!(limit_s > 0)) {
            require(api_.infer(context.request.get()), "run the network");
            return;
        }
        auto const started = Clock::now();
        require(api_.start(context.request.get()), "run the network");
        double const limit = std::min(limit_s, kMostSeconds);
        int const status = api_.wait_for(context.request.get(), static_cast<std::int64_t>(limit * 1000) + 1);
        if (Clock::now() - started > std::chrono::duration<double>(limit_s)) {
            api_.cancel(context.request.get());
            fail(EDGEOSR_BACKEND_FAILED,
                 plan_.body ? "body.onnx" : "model.onnx",
                 " did not judge its first frame within ",
                 limit_s,
                 " s; it is too slow for this processor, or made to be; set warmup_limit_s to wait longer");
        }
        require(status, "run the network");
    }

    /// Turn what the request gave into row i.
    void collect(Context& context, std::size_t i) const {
        float* const values = context.values.data() + i * parts_;
        auto const output = [&](std::size_t place, std::size_t bytes) {
            require_bytes(*context.outputs[place], bytes);
            return static_cast<float const*>(data_of(*context.outputs[place]));
        };
        if (!plan_.body) {
            std::copy_n(output(1, sizeof(float)), 1, &context.score[i]);
            std::copy_n(output(2, parts_ * sizeof(float)), parts_, values);
            context.label[i] = *reinterpret_cast<std::int64_t const*>(output(0, sizeof(std::int64_t)));
            return;
        }
        ScoreInput input;
        std::size_t const row = scorer_.dimension * sizeof(float);
        if (scorer_.closed_form) {
            measure_map(*context.outputs[0], input);
            input.map = output(
                0, row * static_cast<std::size_t>(input.height) * static_cast<std::size_t>(input.width));
        } else {
            input.embedding = output(0, row);
        }
        if (scorer_.probes > 0) input.tangents = output(1, row * scorer_.probes);
        input.tangent_stride = scorer_.dimension;
        if (scorer_.head == Head::kExternal)
            input.logits = output(context.outputs.size() - 1, scorer_.classes * sizeof(float));
        Scored const said = score(scorer_, input, context.scoring);
        context.label[i] = said.label;
        context.score[i] = said.score;
        std::copy_n(said.values, parts_, values);
    }

    void measure_map(Owned<ov::Tensor> const& map, ScoreInput& input) const {
        ov::Shape shape{};
        require(api_.tensor_shape(map.get(), &shape), "measure a tensor");
        bool const planes = shape.rank == 4;
        input.height = planes ? static_cast<int>(shape.dims[2]) : 0;
        input.width = planes ? static_cast<int>(shape.dims[3]) : 0;
        api_.free_shape(&shape);
        if (input.height < 1 || input.width < 1)
            fail(EDGEOSR_BAD_BUNDLE, "the map of body.onnx has no positions; export the bundle again");
    }

    std::shared_ptr<FrontEnd const> front_end_for(int height_px, int width_px) {
        std::lock_guard<std::mutex> const lock(mutex_);
        for (auto const& one : front_ends_)
            if (one.size.height_px == height_px && one.size.width_px == width_px) return one.made;
        auto made = std::make_shared<FrontEnd const>(input_, height_px, width_px);
        if (front_ends_.size() == kMostSizes) front_ends_.erase(front_ends_.begin());
        front_ends_.push_back({{height_px, width_px}, made});
        return made;
    }

    std::unique_ptr<Context> take_context() {
        {
            std::lock_guard<std::mutex> const lock(mutex_);
            if (!free_.empty()) {
                auto context = std::move(free_.back());
                free_.pop_back();
                return context;
            }
        }
        return make_context();
    }

    void give_back(std::unique_ptr<Context> context) {
        std::lock_guard<std::mutex> const lock(mutex_);
        if (free_.size() < kMostContexts) free_.push_back(std::move(context));
    }

    struct SizedFrontEnd {
        Size size;
        std::shared_ptr<FrontEnd const> made;
    };

    ov::Library const& library_;
    ov::Api const& api_;
    Preprocessing input_;
    std::size_t parts_;
    int threads_;
    Plan plan_;
    Scorer scorer_;
    Owned<ov::Model> model_;
    std::mutex making_;  // held while a network is compiled
    std::mutex mutex_;   // of what follows, held for moments
    std::vector<SizedFrontEnd> front_ends_;
    std::vector<std::unique_ptr<Context>> free_;
};

}  // namespace

std::unique_ptr<Backend> open_openvino(Bundle const& bundle,
                                       BackendOptions const& options,
                                       bool body_only,
                                       std::string& why) {
    ov::Library const& library = ov::library(options.library);
    auto const& body = bundle.manifest.body;
    std::string const reason = body ? ov::why_not(library, body->int8) : "the bundle has no body for it";
    if (body_only && !reason.empty()) fail(EDGEOSR_NO_BACKEND, reason);
    if (body && !reason.empty()) why += joined("; in float32, because ", reason);
    Plan plan = reason.empty() ? plan_of_body(bundle, *body) : plan_of_model(bundle);
    return std::make_unique<OpenVino>(library, bundle, options, std::move(plan));
}

}  // namespace edgeosr
