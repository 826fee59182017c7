// A bundle that is open, the one before it, and what may be done with them; the C functions translate to
// this.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "base/failure.h"
#include "edgeosr.h"
#include "runtime/coming_frame.h"

namespace edgeosr {

struct Settings {
    BackendOptions backend;
    int warmup_frames = 1;
    double warmup_limit_s = 60;
    bool verify = false;
};

/// Names that verdicts point to; they live as long as the runtime, whatever bundle brought them.
class Names {
  public:
    char const* keep(std::string const& name);

  private:
    std::mutex mutex_;
    std::set<std::string> names_;
};

/// A bundle with its back end; never changed once it is open.
struct Loaded {
    std::string path, why;
    Manifest manifest;  // fusion and threshold are those of the graph that runs
    std::string manifest_sha256;
    Bytes golden;         // the bytes of golden.npz
    Threshold portable;   // of model.onnx, whatever graph runs
    bool kinked = false;  // see is_kinked of the scorer
    std::unique_ptr<Backend> backend;
    bool unverified = false;  // an engine that takes none of the golden frames
    std::vector<char const*> classes, parts;
};

class Runtime {
  public:
    Runtime(std::string const& path, Settings settings);

    void judge(edgeosr_frame const* frames, std::size_t count, edgeosr_verdict* verdicts) const;
    void set_limit(double limit);
    void set_class_limits(double const* limits, std::size_t count);
    std::vector<double> limits() const;
    void swap(std::string const& path);
    void roll_back();
    void verify(edgeosr_verification* out) const;
    void warm_up(int frames, double limit_s) const;
    std::string info() const;
    char const* part_name(std::size_t index) const;
    char const* class_name(std::size_t index) const;

  private:
    /// What a call works with, taken at one time.
    struct State {
        std::shared_ptr<Loaded> loaded;
        std::shared_ptr<std::vector<double> const> limits;
        std::uint32_t generation = 0;
    };

    struct Demand {
        bool verify;      // judge the golden frames on onnxruntime too
        bool unverified;  // an engine that takes none of them will do: nobody asked more of the one before
        Graph running;    // now: what runs an engine or a body must not come to run model.onnx unasked
        std::optional<Size> frame;  // that comes, as far as is known: must be taken
    };

    State state() const;
    std::shared_ptr<Loaded> load(std::string const& path, Demand demand);
    /// A device has room for two networks, which it shows from the first swap on, and not always for three.
    void let_go_of_previous();
    void start(Loaded& made, Bundle& bundle, Choice& way, Demand const& demand);
    void set_limits(std::vector<double> limits, bool by_class);

    Settings const settings_;
    mutable Names names_;
    std::mutex changing_;       // held while a bundle is opened: swaps wait for each other
    mutable std::mutex mutex_;  // of the two states, held for moments
    State current_, previous_;
    mutable LastFrame last_frame_;
};

/// The bundle's own thresholds.
std::vector<double> calibrated(Manifest const& manifest);

/// Judge the golden frames, each alone and in batches; fill `out` if there is one. limit_s: seconds that each
/// may take; 0: no limit. may_miss: where the back end takes frames of another size than they have, say so in
/// loaded.why instead. Throws EDGEOSR_NOT_VERIFIED, EDGEOSR_BACKEND_FAILED.
void require_golden_verdicts(Loaded& loaded,
                             double limit_s,
                             edgeosr_verification* out,
                             bool may_miss = false);

/// Bundle and back end as a JSON object.
std::string described(Loaded const& loaded, std::vector<double> const& limits, std::uint32_t generation);

}  // namespace edgeosr
