// Which frames come: a bundle that is swapped in must take them, or it would refuse every one.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "bundle/manifest.h"

namespace edgeosr {

/// The size of the frames that were judged last; any thread may set or read it.
class LastFrame {
  public:
    void set(Size size);
    std::optional<Size> size() const;  // none: nothing was judged

  private:
    std::atomic<std::uint64_t> packed_{0};  // height and width, 32 bits each
};

/// Throw EDGEOSR_BAD_FRAME if the bundle at `path` takes frames of one size only, and others come.
void require_frame(std::string const& path, std::optional<Size> taken, std::optional<Size> coming);

}  // namespace edgeosr
