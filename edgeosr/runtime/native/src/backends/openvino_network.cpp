#include "backends/openvino_network.h"

#include <algorithm>
#include <chrono>

namespace edgeosr::ov {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMostSeconds = 1e6;

}  // namespace

Network::Network(Library const& library, Plan const& plan, std::string_view data, int threads)
    : library_(library),
      api_(library.api),
      file_(plan.file.name),
      input_bytes_(3 * sizeof(float) * static_cast<std::size_t>(plan.input.height_px) *
                   static_cast<std::size_t>(plan.input.width_px)),
      names_(plan.outputs),
      compiled_(api_.free_compiled),
      request_(api_.free_request),
      pixels_(api_.free_tensor) {
    SameSignalStack const same;
    Owned<Model> model(api_.free_model);
    require(api_.read_model(library_.core, data.data(), data.size(), nullptr, model.out()), "read ", file_);
    std::int64_t const shape[4] = {1, 3, plan.input.height_px, plan.input.width_px};
    PartialShape fixed{};
    require(api_.create_shape(4, shape, &fixed), "make a shape");
    int const status = api_.reshape_input(model.get(), fixed);
    api_.free_partial_shape(&fixed);
    require(status, "fix the input of ", file_);
    // A thread that is bound to one processor waits for whatever else runs there. Int8 layers are int8 by
    // their Q/DQ pairs; what is between them stays float32. The last pair only where threads are named.
    std::string const number = joined(threads);
    require(api_.compile(library_.core,
                         model.get(),
                         "CPU",
                         threads > 0 ? std::size_t{10} : std::size_t{8},
                         compiled_.out(),
                         "INFERENCE_PRECISION_HINT",
                         plan.precision == BodyPrecision::kBf16 ? "bf16" : "f32",
                         "NUM_STREAMS",
                         "1",
                         "PERFORMANCE_HINT",
                         "LATENCY",
                         "ENABLE_CPU_PINNING",
                         "NO",
                         "INFERENCE_NUM_THREADS",
                         number.c_str()),
            "compile ",
            file_);
    renew();
}

void Network::renew() {
    SameSignalStack const same;
    outputs_.clear();
    pixels_.reset();
    require(api_.create_request(compiled_.get(), request_.out()), "make a request");
    require(api_.tensor(request_.get(), "pixels", pixels_.out()), "give its input");
    require_bytes(pixels_, input_bytes_);
    for (auto name : names_) {
        outputs_.push_back(std::make_unique<Owned<Tensor>>(api_.free_tensor));
        require(api_.tensor(request_.get(), name, outputs_.back()->out()), "give its outputs");
    }
}

void Network::infer(double limit_s) const {
    if (!(limit_s > 0)) {
        require(api_.infer(request_.get()), "run ", file_);
        return;
    }
    auto const started = Clock::now();
    require(api_.start(request_.get()), "run ", file_);
    double const limit = std::min(limit_s, kMostSeconds);
    int const status = api_.wait_for(request_.get(), static_cast<std::int64_t>(limit * 1000) + 1);
    if (Clock::now() - started > std::chrono::duration<double>(limit_s)) {
        api_.cancel(request_.get());
        fail(EDGEOSR_BACKEND_FAILED,
             file_,
             " did not judge a frame within ",
             limit_s,
             " s; it is too slow for this processor, or made to be; allow it more time (warmup_limit_s of "
             "the options, "
             "limit_s of edgeosr_warm_up)");
    }
    require(status, "run ", file_);
}

void const* Network::output(std::size_t place, std::size_t bytes) const {
    require_bytes(*outputs_[place], bytes);
    return data_of(*outputs_[place]);
}

Size Network::positions(std::size_t place) const {
    Shape shape{};
    require(api_.tensor_shape(outputs_[place]->get(), &shape), "measure a tensor");
    Size made;
    if (shape.rank == 4) made = {static_cast<int>(shape.dims[2]), static_cast<int>(shape.dims[3])};
    api_.free_shape(&shape);
    if (made.height_px < 1 || made.width_px < 1)
        fail(EDGEOSR_BAD_BUNDLE, "the map of ", file_, " has no positions; export the bundle again");
    return made;
}

void Network::require_bytes(Owned<Tensor> const& tensor, std::size_t wanted) const {
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

void* Network::data_of(Owned<Tensor> const& tensor) const {
    void* data = nullptr;
    require(api_.tensor_data(tensor.get(), &data), "give a tensor's memory");
    return data;
}

}  // namespace edgeosr::ov
