// A time limit for one run of a back end that can be stopped from another thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/failure.h"

namespace edgeosr {

/// Calls `end` once after `seconds`, in a thread of its own, unless stopped before; 0 seconds: never.
class TimeLimit {
  public:
    TimeLimit(double seconds, std::function<void()> end)
        : seconds_(seconds), end_(std::move(end)), started_(std::chrono::steady_clock::now()) {
        if (!(seconds_ > 0)) return;
        try {
            thread_ = std::thread([this] { wait(); });
        } catch (std::system_error const& error) {
            fail(EDGEOSR_NO_MEMORY,
                 "no thread can be started to watch a time limit: ",
                 error.what(),
                 "; allow this process more threads, or judge without a limit (warmup_limit_s -1)");
        }
    }
    ~TimeLimit() { stop(); }
    TimeLimit(TimeLimit const&) = delete;
    TimeLimit& operator=(TimeLimit const&) = delete;

    /// Return whether the time is over; `end` is not called any more afterwards.
    bool stop() {
        if (!thread_.joinable()) return over_;
        {
            std::lock_guard<std::mutex> const lock(mutex_);
            stopped_ = true;
        }
        changed_.notify_all();
        thread_.join();
        // What was at work when the time was over may have been the last thing to do.
        over_ =
            over_ || std::chrono::steady_clock::now() - started_ > std::chrono::duration<double>(seconds_);
        return over_;
    }

  private:
    void wait() {
        std::unique_lock<std::mutex> lock(mutex_);
        auto const limit = std::chrono::duration<double>(seconds_ < 1e6 ? seconds_ : 1e6);
        if (changed_.wait_for(lock, limit, [this] { return stopped_; })) return;
        over_ = true;
        end_();
    }

    double seconds_;
    std::function<void()> end_;
    std::chrono::steady_clock::time_point started_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopped_ = false, over_ = false;
    std::thread thread_;
};

}  // namespace edgeosr
