// A network that OpenVINO has compiled for one frame, with the request that runs it.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backends/openvino_library.h"
#include "backends/openvino_plan.h"

namespace edgeosr::ov {

/// A thing of the library's that is freed by a function of it.
template <class Thing>
class Owned {
  public:
    explicit Owned(void (*free)(Thing*)) : free_(free) {}
    ~Owned() { reset(); }
    Owned(Owned const&) = delete;
    Owned& operator=(Owned const&) = delete;
    Thing* get() const { return thing_; }
    Thing** out() {
        reset();
        return &thing_;
    }
    void reset() {
        if (thing_ != nullptr) free_(thing_);
        thing_ = nullptr;
    }

  private:
    void (*free_)(Thing*);
    Thing* thing_ = nullptr;
};

/// For one call at a time.
class Network {
  public:
    /// data: of an ONNX file from `pixels`, which is not kept. threads: of one inference; 0: OpenVINO's
    /// choice. Throws Failure: EDGEOSR_BACKEND_FAILED.
    Network(Library const& library, Plan const& plan, std::string_view data, int threads);

    /// The input, float32 [3, height, width].
    float* pixels() const { return static_cast<float*>(data_of(pixels_)); }

    /// Run it; limit_s: seconds after which it is ended; 0: none. After a failure the network is of no use
    /// until renew().
    void infer(double limit_s) const;

    /// Exchange the request that runs it for a fresh one; waits for a run that is being ended. Throws
    /// Failure: EDGEOSR_BACKEND_FAILED; then call it again.
    void renew();

    /// The memory of an output; `bytes`: that it must have.
    void const* output(std::size_t place, std::size_t bytes) const;

    /// Height and width of an output [1, channels, height, width].
    Size positions(std::size_t place) const;

  private:
    void require(int status, char const* what, std::string_view file = {}) const {
        ov::require(library_, status, what, file);
    }
    void require_bytes(Owned<Tensor> const& tensor, std::size_t wanted) const;
    void* data_of(Owned<Tensor> const& tensor) const;

    Library const& library_;
    Api const& api_;
    std::string file_;
    std::size_t input_bytes_;
    std::vector<char const*> names_;  // of the outputs
    Owned<Compiled> compiled_;
    Owned<Request> request_;
    Owned<Tensor> pixels_;
    std::vector<std::unique_ptr<Owned<Tensor>>> outputs_;
};

}  // namespace edgeosr::ov
