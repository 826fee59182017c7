// The rule of acceptance, for verdicts and golden verdicts alike.
#pragma once

#include <string>
#include <vector>

#include "backends/backend.h"

namespace edgeosr {

/// What is decided of a row: accepted if everything is finite and the score is at most the limit of its
/// class.
struct Decision {
    bool finite = false, accepted = false;
    double limit = 0;
};

/// The threshold of a class. limits: one number for all classes, or one a class; label: one of them.
inline double limit_of(std::vector<double> const& limits, std::int64_t label) {
    return limits.size() == 1 ? limits[0] : limits[static_cast<std::size_t>(label)];
}

/// Decide of row i, whose label is a class.
Decision decision(Rows const& rows, std::size_t i, std::size_t parts, std::vector<double> const& limits);

/// Throw EDGEOSR_BAD_BUNDLE unless each label is one of so many classes. path: of the bundle.
void require_classes(Rows const& rows, std::size_t classes, std::string const& path);

}  // namespace edgeosr
