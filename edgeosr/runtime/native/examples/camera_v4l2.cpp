// A camera by Video4Linux: judge its newest frame, print a line when the answer changes. Ctrl-C ends it.
//
//   camera_v4l2 BUNDLE.edgeosr [/dev/video0]
//
// Frames that came while the network was busy are given back unread: what is judged is never older than the
// camera's last frame.
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <edgeosr.hpp>

namespace {

std::sig_atomic_t volatile ended = 0;

[[noreturn]] void fail(std::string const& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

class Camera {
  public:
    /// By the other constructor first, so that what throws here leaves nothing open.
    explicit Camera(char const* path) : Camera() {
        file_ = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (file_ < 0) fail(std::string("cannot open ") + path);
        v4l2_format format = {};
        format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
        format.fmt.pix.width = 640;
        format.fmt.pix.height = 480;
        format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
        call(VIDIOC_S_FMT, &format, "the camera takes no format");
        if (format.fmt.pix.pixelformat != V4L2_PIX_FMT_YUYV)
            throw std::runtime_error(
                "the camera does not give YUYV; choose another with v4l2-ctl --list-formats");
        picture_ = format.fmt.pix;  // the driver may have chosen another size
        v4l2_requestbuffers asked = {};
        asked.count = 4;
        asked.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
        asked.memory = V4L2_MEMORY_MMAP;
        call(VIDIOC_REQBUFS, &asked, "the camera gives no buffers");
        for (unsigned i = 0; i < asked.count; ++i) {
            v4l2_buffer buffer = made(i);
            call(VIDIOC_QUERYBUF, &buffer, "a buffer cannot be asked for");
            void* memory = mmap(nullptr, buffer.length, PROT_READ, MAP_SHARED, file_, buffer.m.offset);
            if (memory == MAP_FAILED) fail("a buffer cannot be seen");
            memory_.push_back({memory, buffer.length});
            call(VIDIOC_QBUF, &buffer, "a buffer is not taken");
        }
        int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
        call(VIDIOC_STREAMON, &type, "the camera does not start");
    }
    ~Camera() {
        for (auto const& each : memory_)
            munmap(each.first, each.second);
        if (file_ >= 0) close(file_);
    }
    Camera(Camera const&) = delete;
    Camera& operator=(Camera const&) = delete;

    /// Return the newest frame; false after a second without one, or on a signal.
    bool newest(edgeosr_frame& frame) {
        pollfd wait = {file_, POLLIN, 0};
        if (poll(&wait, 1, 1000) <= 0) return false;
        v4l2_buffer buffer = made(0);
        while (ioctl(file_, VIDIOC_DQBUF, &buffer) == 0) {
            give_back();
            held_ = static_cast<int>(buffer.index);
            buffer = made(0);
        }
        if (errno != EAGAIN) fail("the camera is gone");
        if (held_ < 0) return false;
        frame = edgeosr::frame(EDGEOSR_YUYV,
                               static_cast<int>(picture_.height),
                               static_cast<int>(picture_.width),
                               memory_[static_cast<std::size_t>(held_)].first,
                               picture_.bytesperline);
        return true;
    }

    void give_back() {
        if (held_ < 0) return;
        v4l2_buffer buffer = made(static_cast<unsigned>(held_));
        call(VIDIOC_QBUF, &buffer, "a buffer is not taken");
        held_ = -1;
    }

  private:
    Camera() = default;
    static v4l2_buffer made(unsigned index) {
        v4l2_buffer buffer = {};
        buffer.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
        buffer.memory = V4L2_MEMORY_MMAP;
        buffer.index = index;
        return buffer;
    }
    void call(unsigned long request, void* argument, char const* what) {
        while (ioctl(file_, request, argument) < 0)
            if (errno != EINTR) fail(what);
    }

    int file_ = -1, held_ = -1;
    v4l2_pix_format picture_ = {};
    std::vector<std::pair<void*, std::size_t>> memory_;
};

}  // namespace

int main(int argc, char** argv) {
    bool const help = argc == 2 && std::strcmp(argv[1], "--help") == 0;
    if (help || argc < 2 || argc > 3) {
        std::fprintf(help ? stdout : stderr, "camera_v4l2 BUNDLE.edgeosr [/dev/video0]\n");
        return help ? 0 : 2;
    }
    std::signal(SIGINT, [](int) { ended = 1; });
    try {
        edgeosr::Runtime runtime(argv[1]);
        Camera camera(argc == 3 ? argv[2] : "/dev/video0");
        std::string shown;
        while (!ended) {
            edgeosr_frame frame;
            if (!camera.newest(frame)) continue;
            auto const said = runtime.judge(frame);
            camera.give_back();
            if (shown != said.label)
                std::printf("%s (score %.3f)\n", said.label, static_cast<double>(said.score));
            std::fflush(stdout);  // into a pipe or a log too, when it is said
            shown = said.label;
        }
    } catch (std::exception const& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
