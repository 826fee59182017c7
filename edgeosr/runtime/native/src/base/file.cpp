#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/failure.h"

namespace edgeosr {
namespace {

constexpr char kAgain[] = "; copy the bundle again or export it again";

class Descriptor {
  public:
    explicit Descriptor(int number) : number_(number) {}
    ~Descriptor() {
        if (number_ >= 0) close(number_);
    }
    Descriptor(Descriptor const&) = delete;
    Descriptor& operator=(Descriptor const&) = delete;
    int number() const { return number_; }

  private:
    int number_;
};

[[noreturn]] void cannot_read(std::string const& path, int error) {
    if (error == ENOENT) fail(EDGEOSR_BAD_BUNDLE, path, " is missing", kAgain);
    if (error == ELOOP) fail(EDGEOSR_BAD_BUNDLE, path, " is a link; a bundle holds plain files only", kAgain);
    fail(EDGEOSR_CANNOT_READ,
         "cannot read ",
         path,
         ": ",
         std::strerror(error),
         "; check its permissions and the disk");
}

[[noreturn]] void damaged(std::string const& path, std::uint64_t found, std::uint64_t expected) {
    fail(EDGEOSR_BAD_BUNDLE,
         path,
         " is damaged: it has ",
         found,
         " bytes, the manifest says ",
         expected,
         kAgain);
}

}  // namespace

Bytes::Bytes(std::size_t size) : size_(size) {
    constexpr std::size_t kOwnPages = std::size_t{1} << 18;
    if (size < kOwnPages) {
        data_ = {new std::uint8_t[size], FreeBytes{}};
        return;
    }
    // Every page will be written: all at once is a third of the time of one fault after the other.
    void* const pages =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    data_ = {static_cast<std::uint8_t*>(pages), FreeBytes{size}};
}

void FreeBytes::operator()(std::uint8_t* data) const {
    if (mapped == 0)
        delete[] data;
    else
        munmap(data, mapped);
}

bool is_directory(std::string const& path) {
    struct stat status;
    return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool is_missing(std::string const& path) {
    struct stat status;
    if (stat(path.c_str(), &status) == 0) return false;
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENAMETOOLONG;
}

bool exists(std::string const& path) {
    struct stat status;
    return lstat(path.c_str(), &status) == 0;
}

std::string absolute_path(std::string const& path) {
    if (path.empty() || path[0] == '/') return path;
    std::unique_ptr<char, decltype(&std::free)> const folder(getcwd(nullptr, 0), &std::free);
    return folder == nullptr ? path : joined(folder.get(), "/", path);
}

Bytes read_plain_file(std::string const& directory,
                      std::string const& name,
                      std::optional<std::uint64_t> size,
                      std::uint64_t limit) {
    std::string const path = directory + "/" + name;
    // A link could lead out of the bundle, and opening a FIFO would wait for ever.
    Descriptor const file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file.number() < 0) cannot_read(path, errno);
    struct stat status;
    if (fstat(file.number(), &status) != 0) cannot_read(path, errno);
    if (!S_ISREG(status.st_mode))
        fail(EDGEOSR_BAD_BUNDLE, path, " is no plain file; a bundle holds plain files only", kAgain);
    auto const found = static_cast<std::uint64_t>(status.st_size);
    if (size && found != *size) damaged(path, found, *size);
    if (found > limit)
        fail(EDGEOSR_BAD_BUNDLE,
             path,
             " has ",
             found,
             " bytes; at most ",
             limit,
             " are read: this is no bundle",
             kAgain);
    Bytes bytes(found + 1);  // one more: a file that grows meanwhile is refused too
    std::size_t filled = 0;
    while (filled < bytes.size()) {
        ssize_t const count = read(file.number(), bytes.data() + filled, bytes.size() - filled);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) cannot_read(path, errno);
        if (count == 0) break;
        filled += static_cast<std::size_t>(count);
    }
    if (filled != found) damaged(path, filled, found);
    bytes.cut(found);
    return bytes;
}

}  // namespace edgeosr
