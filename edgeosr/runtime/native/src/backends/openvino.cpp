#include "backends/openvino.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "backends/openvino_network.h"
#include "base/failure.h"
#include "base/file.h"
#include "base/sha256.h"
#include "scoring/score.h"

namespace edgeosr {
namespace {

constexpr std::size_t kMostSizes = 16, kLine = 64;
/// Calls that wait, after a further network was not made, before one is tried once more: what was missing,
/// such as memory, may be there again, and to read and compile one takes as long as many frames.
constexpr std::size_t kPatience = 100;

/// Networks of a bundle at most: more than processors help nobody, and each holds the weights once more.
std::size_t most_contexts() {
    return std::max(1u, std::thread::hardware_concurrency());
}

/// What one call at a time uses: a network of its own, so that no call waits for another's inference.
struct Context {
    explicit Context(std::unique_ptr<ov::Network> made) : network(std::move(made)) {}

    std::unique_ptr<ov::Network> network;
    bool failed = false;  // its request failed, or still runs, and is not used again
    std::vector<std::uint8_t> scratch;
    ScoreScratch scoring;
    std::vector<std::int64_t> label;
    std::vector<float> score, values;
};

class OpenVino final : public Backend {
  public:
    OpenVino(ov::Library const& library, Bundle const& bundle, BackendOptions const& options, Plan plan)
        : library_(library), threads_(options.threads), plan_(std::move(plan)), most_(most_contexts()) {
        if (plan_.body) scorer_ = scorer_for(bundle, *bundle.manifest.body);
        free_.reserve(most_);
        free_.push_back(make_context(bundle.file(plan_.file.name)));
        contexts_ = 1;
    }

    char const* name() const override { return "openvino"; }
    Graph graph() const override { return plan_.body ? Graph::kBody : Graph::kModel; }
    std::string library() const override {
        return joined(
            library_.path, " (OpenVINO ", library_.version, ", ", ov::name_of(plan_.precision), ")");
    }

    std::string why_calls_wait() const override {
        std::lock_guard<std::mutex> const lock(mutex_);
        if (refused_.empty()) return "";
        return joined("calls at once may wait for each other, for a further network was not made: ",
                      refused_);
    }

    void run(Frames const& frames, RowSink& sink, double limit_s) override {
        auto const front_end = front_end_for(frames.height_px(), frames.width_px());
        std::unique_ptr<Context> context = take_context();
        try {
            if (context->failed) context->network->renew();
            context->failed = true;
            judge(*context, *front_end, frames, limit_s);
            context->failed = false;
            sink.take({context->label.data(), context->score.data(), context->values.data(), frames.count()});
        } catch (...) {
            // The network is kept: the bundle may be gone from the disk, and others wait for it.
            give_back(std::move(context));
            throw;
        }
        give_back(std::move(context));
    }

  private:
    void judge(Context& context, FrontEnd const& front_end, Frames const& frames, double limit_s) const {
        std::size_t const count = frames.count(), room = front_end.scratch_bytes() + kLine;
        if (context.scratch.size() < room) context.scratch.resize(room);
        if (context.label.size() < count) {
            // The labels last: their number says that there is room for all, also after a growth without
            // memory.
            context.score.resize(count);
            context.values.resize(count * plan_.parts);
            context.label.resize(count);
        }
        auto const start = reinterpret_cast<std::uintptr_t>(context.scratch.data());
        void* const scratch = context.scratch.data() + (kLine - start % kLine) % kLine;
        for (std::size_t i = 0; i < count; ++i) {
            front_end.run(frames.at(i), scratch, context.network->pixels());
            context.network->infer(limit_s);
            collect(context, i);
        }
    }

    /// Turn what the network gave into row i.
    void collect(Context& context, std::size_t i) const {
        float* const values = context.values.data() + i * plan_.parts;
        auto const floats = [&](std::size_t place, std::size_t count) {
            return static_cast<float const*>(context.network->output(place, count * sizeof(float)));
        };
        if (!plan_.body) {
            context.label[i] =
                *static_cast<std::int64_t const*>(context.network->output(0, sizeof(std::int64_t)));
            context.score[i] = *floats(1, 1);
            std::copy_n(floats(2, plan_.parts), plan_.parts, values);
            return;
        }
        ScoreInput input;
        std::size_t const row = scorer_.dimension;
        if (scorer_.closed_form) {
            Size const size = context.network->positions(0);
            input.height = size.height_px;
            input.width = size.width_px;
            input.map = floats(
                0, row * static_cast<std::size_t>(input.height) * static_cast<std::size_t>(input.width));
        } else {
            input.embedding = floats(0, row);
        }
        if (scorer_.probes > 0) input.tangents = floats(1, row * scorer_.probes);
        input.tangent_stride = row;
        if (scorer_.head == Head::kExternal) input.logits = floats(plan_.outputs.size() - 1, scorer_.classes);
        Scored const said = score(scorer_, input, context.scoring);
        context.label[i] = said.label;
        context.score[i] = said.score;
        std::copy_n(said.values, plan_.parts, values);
    }

    std::shared_ptr<FrontEnd const> front_end_for(int height_px, int width_px) {
        std::lock_guard<std::mutex> const lock(mutex_);
        for (auto const& one : front_ends_)
            if (one.size.height_px == height_px && one.size.width_px == width_px) return one.made;
        auto made = std::make_shared<FrontEnd const>(plan_.input, height_px, width_px);
        if (front_ends_.size() == kMostSizes) front_ends_.erase(front_ends_.begin());
        front_ends_.push_back({{height_px, width_px}, made});
        return made;
    }

    std::unique_ptr<Context> make_context(std::string_view data) const {
        std::string room;
        return std::make_unique<Context>(
            std::make_unique<ov::Network>(library_, plan_, network_of(plan_, data, room), threads_));
    }

    /// The weights are not kept beside those that OpenVINO has, so a further network is read from the bundle.
    std::unique_ptr<Context> another_context() {
        Bytes const data = read_again();
        if (sha256_hex(data.data(), data.size()) != plan_.file.sha256) found_replaced();
        return make_context(data.text());
    }

    Bytes read_again() {
        try {
            return read_plain_file(plan_.directory, plan_.file.name, plan_.file.bytes, plan_.file.bytes);
        } catch (Failure const& failure) {
            // What is there and is not what was opened stays so; what is missing may come back as it was.
            if (failure.status() != EDGEOSR_BAD_BUNDLE || !exists(plan_.directory + "/" + plan_.file.name))
                throw;
        }
        found_replaced();
    }

    [[noreturn]] void found_replaced() {
        replaced_ = true;
        fail(EDGEOSR_BAD_BUNDLE, plan_.directory, " was replaced; open it again");
    }

    std::unique_ptr<Context> take_context() {
        std::unique_lock<std::mutex> lock(mutex_);
        if (free_.empty() && contexts_ < most_ && !replaced_) {
            if (before_another_ > 0)
                --before_another_;
            else if (auto made = tried(lock))
                return made;
        }
        changed_.wait(lock, [this] { return !free_.empty(); });
        auto context = std::move(free_.back());
        free_.pop_back();
        return context;
    }

    /// Make a further network; null if that fails, and why is kept. The others' networks are waited for then,
    /// of which there is one at least, for none is ever let go.
    std::unique_ptr<Context> tried(std::unique_lock<std::mutex>& lock) {
        ++contexts_;
        lock.unlock();
        try {
            auto made = another_context();
            lock.lock();
            refused_.clear();
            return made;
        } catch (std::exception const& error) {
            lock.lock();
            --contexts_;
            before_another_ = kPatience;
            try {
                refused_ = error.what();
            } catch (std::bad_alloc const&) {
                refused_ = "no memory";
            }
        }
        return nullptr;
    }

    void give_back(std::unique_ptr<Context> context) {
        {
            std::lock_guard<std::mutex> const lock(mutex_);
            // One that failed is taken last: what it ran may still be ending.
            free_.insert(context->failed ? free_.begin() : free_.end(), std::move(context));
        }
        changed_.notify_one();
    }

    struct SizedFrontEnd {
        Size size;
        std::shared_ptr<FrontEnd const> made;
    };

    ov::Library const& library_;
    int threads_;
    Plan plan_;
    std::size_t const most_;
    Scorer scorer_;
    std::atomic<bool> replaced_{false};  // the bundle: it need not be read at each call
    mutable std::mutex mutex_;           // of what follows, held for moments
    std::condition_variable changed_;
    std::vector<SizedFrontEnd> front_ends_;
    std::vector<std::unique_ptr<Context>> free_;
    std::size_t contexts_ = 0;        // free, in use, or being made; most_ at most
    std::size_t before_another_ = 0;  // calls that are still to wait
    std::string refused_;             // why the last further network was not made
};

}  // namespace

std::unique_ptr<Backend> open_openvino(Bundle const& bundle,
                                       BackendOptions const& options,
                                       bool body_only,
                                       std::string& why) {
    ov::Library const& library = ov::library(options.library);
    auto const& body = bundle.manifest.body;
    std::string const reason = body ? ov::why_not(library, body->precision) : "the bundle has no body";
    if (body_only && !reason.empty())
        fail(EDGEOSR_NO_BACKEND,
             "the ",
             ov::name_of(body ? body->precision : BodyPrecision::kF32),
             " body is not for this processor: ",
             reason,
             "; take a bundle without a body, or a machine that has them");
    if (!reason.empty()) why += joined("; in float32, because ", reason);
    return std::make_unique<OpenVino>(library, bundle, options, plan_of(bundle, reason.empty()));
}

}  // namespace edgeosr
