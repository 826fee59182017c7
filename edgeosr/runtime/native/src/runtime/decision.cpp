#include "runtime/decision.h"

#include <cmath>

#include "base/failure.h"
#include "base/numbers.h"

namespace edgeosr {

Decision decision(Rows const& rows, std::size_t i, std::size_t parts, std::vector<double> const& limits) {
    Decision made;
    made.limit = limit_of(limits, rows.label[i]);
    made.finite = std::isfinite(rows.score[i]) && all_finite(rows.values + i * parts, parts);
    made.accepted = made.finite && static_cast<double>(rows.score[i]) <= made.limit;
    return made;
}

void require_classes(Rows const& rows, std::size_t classes, std::string const& path) {
    for (std::size_t i = 0; i < rows.count; ++i)
        if (rows.label[i] < 0 || static_cast<std::size_t>(rows.label[i]) >= classes)
            fail(EDGEOSR_BAD_BUNDLE,
                 "the network of ",
                 path,
                 " gave class ",
                 rows.label[i],
                 ", but its manifest names ",
                 classes,
                 " classes; export the bundle again");
}

}  // namespace edgeosr
