#include "runtime/runtime.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>

#include "base/failure.h"
#include "base/free_memory.h"
#include "runtime/decision.h"
#include "scoring/scorer.h"

namespace edgeosr {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kUnknown[] = "unknown";

/// Makes verdicts of the rows of a call; all rows are looked at before the first verdict is written.
class Verdicts final : public RowSink {
  public:
    Verdicts(Loaded const& loaded,
             std::vector<double> const& limits,
             std::uint32_t generation,
             Clock::time_point started,
             edgeosr_verdict* out)
        : loaded_(loaded), limits_(limits), generation_(generation), started_(started), out_(out) {}

    void take(Rows const& rows) override {
        std::size_t const parts = loaded_.parts.size();
        require_classes(rows, loaded_.classes.size(), loaded_.path);
        auto const latency =
            std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - started_).count();
        for (std::size_t i = 0; i < rows.count; ++i)
            out_[i] = verdict(rows, i, parts, latency);
    }

  private:
    edgeosr_verdict verdict(Rows const& rows, std::size_t i, std::size_t parts, std::int64_t latency) const {
        Decision const decided = decision(rows, i, parts, limits_);
        edgeosr_verdict made;
        std::fill(std::begin(made.parts), std::end(made.parts), NAN);
        std::copy_n(rows.values + i * parts, parts, made.parts);
        made.threshold = decided.limit;
        made.finite = decided.finite ? 1 : 0;
        made.accepted = decided.accepted ? 1 : 0;
        made.index = static_cast<std::int32_t>(rows.label[i]);
        made.part_count = static_cast<std::int32_t>(parts);
        made.nearest = loaded_.classes[static_cast<std::size_t>(rows.label[i])];
        made.label = decided.accepted ? made.nearest : kUnknown;
        made.score = rows.score[i];
        made.generation = generation_;
        made.latency_ns = latency;
        return made;
    }

    Loaded const& loaded_;
    std::vector<double> const& limits_;
    std::uint32_t generation_;
    Clock::time_point started_;
    edgeosr_verdict* out_;
};

void warm_up_bundle(Loaded& loaded, int frames, double limit_s) {
    auto const& preprocessing = loaded.manifest.preprocessing;
    Size const input{preprocessing.height_px, preprocessing.width_px};
    Size const size = loaded.backend->frame().value_or(loaded.manifest.frame.value_or(input));
    std::vector<std::uint8_t> const black(
        static_cast<std::size_t>(size.height_px) * static_cast<std::size_t>(size.width_px) * 3, 0);
    edgeosr_frame const frame = {
        sizeof frame, EDGEOSR_RGB8, size.height_px, size.width_px, {black.data(), nullptr}, {0, 0}};
    std::vector<double> const limits = calibrated(loaded.manifest);
    for (int i = 0; i < frames; ++i) {
        edgeosr_verdict verdict;
        Verdicts sink(loaded, limits, 0, Clock::now(), &verdict);
        loaded.backend->run(Frames(&frame, 1, loaded.manifest.frame), sink, limit_s);
    }
}

/// The only frames that a bundle takes as it runs.
std::optional<Size> frame_of(Loaded const& loaded) {
    std::optional<Size> const taken = loaded.backend->frame();
    return taken ? taken : loaded.manifest.frame;
}

}  // namespace

char const* Names::keep(std::string const& name) {
    std::lock_guard<std::mutex> const lock(mutex_);
    return names_.insert(name).first->c_str();
}

std::vector<double> calibrated(Manifest const& manifest) {
    return manifest.threshold.by_class.empty() ? std::vector<double>{manifest.threshold.value}
                                               : manifest.threshold.by_class;
}

Runtime::Runtime(std::string const& path, Settings settings) : settings_(std::move(settings)) {
    current_.loaded = load(path, {settings_.verify, !settings_.verify, Graph::kModel, std::nullopt});
    current_.limits = std::make_shared<std::vector<double> const>(calibrated(current_.loaded->manifest));
    current_.generation = 1;
}

std::shared_ptr<Loaded> Runtime::load(std::string const& given, Demand demand) {
    FreeMemoryGoesBack const after;  // also where it fails
    // Of a program that changes its folder later, as daemons do, networks are read from the bundle again.
    std::string const path = absolute_path(given);
    Bundle bundle = read_bundle(path);
    auto made = std::make_shared<Loaded>();
    made->path = path;
    made->manifest_sha256 = bundle.manifest_sha256;
    made->golden = bundle.take_file("golden.npz");
    made->portable = bundle.manifest.threshold;
    // What was edited in the manifest alone shows in these, whatever runs; before the network is loaded,
    // which takes longer.
    made->kinked = is_kinked(read_scorer(bundle.file("scorer.npz"), &bundle.manifest, path));
    read_golden(made->golden.text(), bundle.manifest, made->portable, path);
    require_frame(path, bundle.manifest.frame, demand.frame);
    let_go_of_previous();
    auto ways = choices(bundle.manifest, settings_.backend);
    bool const above = demand.running != Graph::kModel;
    std::string reasons;  // why those before do not run it
    for (std::size_t i = 0; i < ways.size(); ++i) {
        bool const engine = ways[i].on == Choice::On::kTensorRt, last = i + 1 == ways.size();
        if (!reasons.empty()) ways[i].why += joined(ways[i].why.empty() ? "" : "; ", reasons);
        if (above && bundle.manifest.body) ways[i].body_only = true;
        try {
            try {
                start(*made, bundle, ways[i], demand);
                break;
            } catch (std::bad_alloc const&) {  // as a back end says it of itself
                fail(EDGEOSR_NO_MEMORY, "there is not enough memory to run it", kMoreMemory);
            }
        } catch (Failure const& failure) {
            // Whatever keeps an engine from running here is no error of the bundle's other files.
            bool const other = engine || failure.status() == EDGEOSR_NO_BACKEND ||
                               failure.status() == EDGEOSR_BACKEND_FAILED ||
                               failure.status() == EDGEOSR_NO_MEMORY ||
                               failure.status() == EDGEOSR_NOT_VERIFIED;
            if (!other || ways.size() == 1) throw;
            if (settings_.verify && failure.status() == EDGEOSR_NOT_VERIFIED) throw;
            bool const kept = above && ((engine && demand.running == Graph::kBackbone) ||
                                        (!last && ways[i + 1].on == Choice::On::kOnnxRuntime));
            if (kept && reasons.empty()) throw;
            if (kept || last) fail(failure.status(), failure.what(), "; before that, ", reasons);
            reasons +=
                joined(reasons.empty() ? "" : "; ", engine ? "tensorrt: " : "openvino: ", failure.what());
        }
    }
    return made;
}

void Runtime::start(Loaded& made, Bundle& bundle, Choice& way, Demand const& demand) {
    if (way.on == Choice::On::kOnnxRuntime)  // nothing is tried after it: networks it does not run are let go
        for (auto const* name : {"body.onnx", "backbone.onnx"})
            bundle.take_file(name);
    made.backend = nullptr;  // one that does not decide as it must holds a network
    made.unverified = false;
    bool const engine = way.on == Choice::On::kTensorRt;
    made.backend = open_backend(bundle, settings_.backend, way);
    made.why = way.why;
    made.manifest = bundle.manifest;
    require_frame(made.path, frame_of(made), demand.frame);
    auto const calibrated_anew = [&made](auto const& record) {
        if (!record->fusion) return;
        made.manifest.fusion = *record->fusion;
        made.manifest.threshold = *record->threshold;
    };
    Graph const graph = made.backend->graph();
    if (graph == Graph::kBody) calibrated_anew(bundle.manifest.body);
    if (graph == Graph::kBackbone) calibrated_anew(bundle.manifest.backbone);
    made.classes.clear();
    made.parts.clear();
    for (auto const& name : made.manifest.classes)
        made.classes.push_back(names_.keep(name));
    for (auto const& name : made.manifest.fusion.parts)
        made.parts.push_back(names_.keep(name));
    if (demand.verify || way.on != Choice::On::kOnnxRuntime)
        require_golden_verdicts(made, settings_.warmup_limit_s, nullptr, engine && demand.unverified);
    // Last: the golden frames let go of what they took, which the first frame would have to take anew.
    warm_up_bundle(made, settings_.warmup_frames, settings_.warmup_limit_s);
}

Runtime::State Runtime::state() const {
    std::lock_guard<std::mutex> const lock(mutex_);
    return current_;
}

void Runtime::judge(edgeosr_frame const* frames, std::size_t count, edgeosr_verdict* verdicts) const {
    auto const started = Clock::now();
    State const now = state();
    Frames const checked(frames, count, now.loaded->manifest.frame);
    Verdicts sink(*now.loaded, *now.limits, now.generation, started, verdicts);
    now.loaded->backend->run(checked, sink, 0);
    last_frame_.set({checked.height_px(), checked.width_px()});
}

void Runtime::set_limit(double limit) {
    set_limits({limit}, false);
}

void Runtime::set_class_limits(double const* limits, std::size_t count) {
    // Before they are read: a wrong count may reach beyond them.
    std::size_t const classes = state().loaded->classes.size();
    if (count != classes)
        fail(EDGEOSR_BAD_ARGUMENT,
             "there must be one threshold for each of ",
             classes,
             " classes; got ",
             count,
             ": pass them in the order of edgeosr_class_name");
    set_limits(std::vector<double>(limits, limits + count), true);
}

void Runtime::set_limits(std::vector<double> limits, bool by_class) {
    for (double limit : limits)
        if (std::isnan(limit))
            fail(EDGEOSR_BAD_ARGUMENT, "a threshold must be a number; got NaN: INFINITY accepts all");
    auto made = std::make_shared<std::vector<double> const>(std::move(limits));
    std::lock_guard<std::mutex> const lock(mutex_);
    if (by_class && made->size() != current_.loaded->classes.size())
        fail(EDGEOSR_BAD_ARGUMENT,
             "the bundle was swapped meanwhile for one of ",
             current_.loaded->classes.size(),
             " classes; got ",
             made->size(),
             " thresholds: set those of the new one");
    current_.limits = std::move(made);
}

std::vector<double> Runtime::limits() const {
    return *state().limits;
}

void Runtime::swap(std::string const& path) {
    std::lock_guard<std::mutex> const changing(changing_);
    State next;
    std::shared_ptr<Loaded> const now = state().loaded;
    Graph const running = now->backend->graph();
    std::optional<Size> const fixed = frame_of(*now), coming = fixed ? fixed : last_frame_.size();
    next.loaded = load(path, {true, now->unverified, running, coming});
    next.limits = std::make_shared<std::vector<double> const>(calibrated(next.loaded->manifest));
    std::lock_guard<std::mutex> const lock(mutex_);
    next.generation = current_.generation + 1;
    previous_ = std::move(current_);
    current_ = std::move(next);
}

void Runtime::let_go_of_previous() {
    State old;  // let go after the lock is: freeing a network takes a while
    std::lock_guard<std::mutex> const lock(mutex_);
    std::swap(old, previous_);
}

void Runtime::roll_back() {
    std::lock_guard<std::mutex> const changing(changing_);
    std::lock_guard<std::mutex> const lock(mutex_);
    if (previous_.loaded == nullptr)
        fail(
            EDGEOSR_NO_PREVIOUS,
            "there is no bundle before this one; roll back after a swap only; a swap that failed keeps none");
    std::swap(current_, previous_);
    current_.generation = previous_.generation + 1;
}

void Runtime::warm_up(int frames, double limit_s) const {
    warm_up_bundle(*state().loaded, frames, limit_s);
}

void Runtime::verify(edgeosr_verification* out) const {
    FreeMemoryGoesBack const after;
    require_golden_verdicts(*state().loaded, settings_.warmup_limit_s, out);
}

std::string Runtime::info() const {
    State const now = state();
    return described(*now.loaded, *now.limits, now.generation);
}

char const* Runtime::part_name(std::size_t index) const {
    State const now = state();
    return index < now.loaded->parts.size() ? now.loaded->parts[index] : nullptr;
}

char const* Runtime::class_name(std::size_t index) const {
    State const now = state();
    return index < now.loaded->classes.size() ? now.loaded->classes[index] : nullptr;
}

}  // namespace edgeosr
