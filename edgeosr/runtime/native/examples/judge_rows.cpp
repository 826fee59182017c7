// C++ with the RAII header: judge raw frames from standard input, one line a frame.
//
//   ffmpeg -i clip.mp4 -f rawvideo -pix_fmt bgr24 - | judge_rows BUNDLE.edgeosr HEIGHT WIDTH
#include <cstdio>
#include <cstdlib>
#include <edgeosr.hpp>

int main(int argc, char** argv) {
    int const height = argc == 4 ? std::atoi(argv[2]) : 0, width = argc == 4 ? std::atoi(argv[3]) : 0;
    if (height < 1 || width < 1) {
        std::fprintf(stderr, "judge_rows BUNDLE.edgeosr HEIGHT WIDTH < frames.bgr\n");
        return 2;
    }
    try {
        edgeosr::Runtime runtime(argv[1]);
        std::vector<unsigned char> pixels(static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
                                          3);
        std::size_t read = 0, frames = 0;
        for (; (read = std::fread(pixels.data(), 1, pixels.size(), stdin)) == pixels.size(); ++frames) {
            auto const said = runtime.judge(edgeosr::frame(EDGEOSR_BGR8, height, width, pixels.data()));
            std::printf("%s %.3f %.2f ms\n",
                        said.label,
                        static_cast<double>(said.score),
                        static_cast<double>(said.latency_ns) / 1e6);
            std::fflush(stdout);  // who reads the lines over a pipe waits for each
        }
        if (read > 0 || frames == 0) {
            std::fprintf(
                stderr, "a frame has %zu bytes; %zu came after %zu frames\n", pixels.size(), read, frames);
            return 2;
        }
    } catch (std::exception const& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
