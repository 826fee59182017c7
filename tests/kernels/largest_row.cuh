// The kernel's function of the part that exists in tests only (largest_row.py).
#pragma once

namespace edgeosr {

EDGEOSR_DEVICE float largest_row(Sample const& s) {
    return number_of(s, 0) * largest_product_of(s) / (norm_of(s) + number_of(s, 1));
}

}  // namespace edgeosr

#define EDGEOSR_MORE_PARTS_LIST(PART, SUM) PART(100, largest_row)
