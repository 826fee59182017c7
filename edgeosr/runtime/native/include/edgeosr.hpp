// libedgeosr for C++17: a runtime that closes itself, and statuses as exceptions. Header only, over
// edgeosr.h.
//
//   edgeosr::Runtime runtime("cats.edgeosr");
//   edgeosr_verdict verdict = runtime.judge(edgeosr::frame(EDGEOSR_BGR8, image.rows, image.cols,
//   image.data));
#ifndef EDGEOSR_HPP
#define EDGEOSR_HPP

#include <edgeosr.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace edgeosr {

/// What a function said that failed.
class Error : public std::runtime_error {
  public:
    explicit Error(edgeosr_status status) : std::runtime_error(edgeosr_last_error()), status_(status) {}
    edgeosr_status status() const noexcept { return status_; }

  private:
    edgeosr_status status_;
};

inline void require(edgeosr_status status) {
    if (status != EDGEOSR_OK) throw Error(status);
}

/// A frame of one plane. stride_bytes: from one row to the next; 0: without gaps.
inline edgeosr_frame frame(
    edgeosr_format format, int height_px, int width_px, void const* pixels, std::size_t stride_bytes = 0) {
    return {sizeof(edgeosr_frame), format, height_px, width_px, {pixels, nullptr}, {stride_bytes, 0}};
}

/// A frame of two planes, EDGEOSR_NV12: Y, and U and V in turn. stride_bytes: of both; 0: without gaps.
inline edgeosr_frame nv12_frame(
    int height_px, int width_px, void const* y, void const* uv, std::size_t stride_bytes = 0) {
    return {sizeof(edgeosr_frame), EDGEOSR_NV12, height_px, width_px, {y, uv}, {stride_bytes, stride_bytes}};
}

/// An open bundle. It may be moved; the functions are those of edgeosr.h, and throw Error.
class Runtime {
  public:
    explicit Runtime(std::string const& bundle, edgeosr_options options = {}) {
        options.struct_bytes = sizeof options;
        edgeosr_runtime* opened = nullptr;
        require(edgeosr_open(bundle.c_str(), &options, &opened));
        runtime_.reset(opened);
    }

    edgeosr_verdict judge(edgeosr_frame const& frame) {
        edgeosr_verdict verdict;
        require(edgeosr_judge(runtime_.get(), &frame, 1, &verdict, sizeof verdict));
        return verdict;
    }
    std::vector<edgeosr_verdict> judge(std::vector<edgeosr_frame> const& frames) {
        std::vector<edgeosr_verdict> verdicts(frames.size());
        require(edgeosr_judge(
            runtime_.get(), frames.data(), frames.size(), verdicts.data(), sizeof(edgeosr_verdict)));
        return verdicts;
    }
    void set_threshold(double threshold) { require(edgeosr_set_threshold(runtime_.get(), threshold)); }
    void set_class_thresholds(std::vector<double> const& thresholds) {
        require(edgeosr_set_class_thresholds(runtime_.get(), thresholds.data(), thresholds.size()));
    }
    std::vector<double> thresholds() const {
        std::vector<double> found;
        for (std::size_t count = 0;;) {  // a swap may come between asking and reading
            edgeosr_status const status =
                edgeosr_thresholds(runtime_.get(), found.data(), found.size(), &count);
            if (count <= found.size()) require(status);
            bool const read = count > 0 && count <= found.size();
            found.resize(count);
            if (read) return found;
        }
    }
    /// limit_s: seconds that each frame may take; 0: any time.
    void warm_up(int frames, double limit_s = 0) {
        require(edgeosr_warm_up(runtime_.get(), frames, limit_s));
    }
    /// "" beyond the last.
    std::string part_name(std::size_t index) const { return text(edgeosr_part_name(runtime_.get(), index)); }
    std::string class_name(std::size_t index) const {
        return text(edgeosr_class_name(runtime_.get(), index));
    }
    void swap(std::string const& bundle) { require(edgeosr_swap(runtime_.get(), bundle.c_str())); }
    void rollback() { require(edgeosr_rollback(runtime_.get())); }
    /// Throws Error with EDGEOSR_NOT_VERIFIED if a golden verdict differs.
    edgeosr_verification verify() {
        edgeosr_verification said = {};
        said.struct_bytes = sizeof said;
        require(edgeosr_verify(runtime_.get(), &said));
        return said;
    }
    std::string info() const {
        std::string json;
        for (std::size_t bytes = 0;;) {
            edgeosr_status const status =
                edgeosr_info(runtime_.get(), json.empty() ? nullptr : &json[0], json.size(), &bytes);
            if (bytes <= json.size()) require(status);
            bool const read = bytes > 0 && bytes <= json.size();
            json.resize(bytes);
            if (read) break;
        }
        json.pop_back();
        return json;
    }
    edgeosr_runtime* get() const noexcept { return runtime_.get(); }

  private:
    static std::string text(char const* found) { return found != nullptr ? found : ""; }
    struct Close {
        void operator()(edgeosr_runtime* runtime) const { edgeosr_close(runtime); }
    };
    std::unique_ptr<edgeosr_runtime, Close> runtime_;
};

}  // namespace edgeosr
#endif  // EDGEOSR_HPP
