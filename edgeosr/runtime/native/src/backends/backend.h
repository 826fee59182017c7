// What the runtime asks of a back end: frames in, one row a frame out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "runtime/frames.h"

namespace edgeosr {

/// Rows of a call, as the network said them; valid during the call of take().
struct Rows {
    std::int64_t const* label;
    float const* score;
    float const* values;  // [count, parts]
    std::size_t count;
};

class RowSink {
  public:
    virtual void take(Rows const& rows) = 0;

  protected:
    ~RowSink() = default;
};

struct BackendOptions {
    std::string name;     // "auto" or one back end's
    std::string library;  // path; "": search
    int threads = 1;      // of one inference; 0: one a physical core
};

/// The file of the bundle that a back end runs, or was made from.
enum class Graph { kModel, kBody, kBackbone };

/// Runs the network of one bundle. run() may be called from any number of threads at once; none waits for
/// another's inference.
class Backend {
  public:
    virtual ~Backend() = default;
    virtual char const* name() const = 0;
    virtual Graph graph() const { return Graph::kModel; }
    virtual std::optional<Size> frame() const { return std::nullopt; }  // that it takes; none: the bundle's
    virtual std::string library() const = 0;                            // which, with its version
    virtual std::string why_calls_wait() const { return ""; }           // for each other, more than they must
    /// Judge frames and give the rows to the sink. limit_s: seconds that each frame may take before the run
    /// is stopped; 0: no limit. Throws Failure.
    virtual void run(Frames const& frames, RowSink& sink, double limit_s) = 0;
    /// Free what earlier calls left for later ones, which then make it anew. A frame of this size must be
    /// one that is taken.
    virtual void let_go(Size) {}
};

/// A way to run a bundle.
struct Choice {
    enum class On { kOnnxRuntime, kOpenVino, kTensorRt } on = On::kOnnxRuntime;
    bool body_only = false;  // not with model.onnx
    std::string why;         // what to say of it
};

/// The back end that the options name; or those that "auto" takes, the first that can run and decides as it
/// must: an engine of the bundle on TensorRT, the body on OpenVINO, where there are such, then onnxruntime,
/// whose library the options may name.
/// Throws Failure: EDGEOSR_BAD_ARGUMENT for an unknown name.
std::vector<Choice> choices(Manifest const& manifest, BackendOptions const& options);

/// Open one; may add to what is said of it. Takes model.onnx out of the bundle for onnxruntime.
std::unique_ptr<Backend> open_backend(Bundle& bundle, BackendOptions const& options, Choice& choice);

}  // namespace edgeosr
