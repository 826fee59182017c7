// The score parts: one small function a part, and one list of them. Nothing else in the kernel names a part.
//
// A part's function is called by one warp for one sample and gives all 32 lanes the same; larger = more
// unknown. It may read what the accessors of `Sample` give, its own numbers, and the products of z with its
// own rows. A part that adds something up over the classes has a term besides: what each class but the top
// one adds.
#pragma once
#include "tile.cuh"

namespace edgeosr {

// Where a part's function is: one sample of the tile, and which part it is.
struct Sample {
    FusedScoreParams const& p;
    float const* products;  // [rows], summed over slabs
    int column;             // in the tile
    int part;
    float top;  // the largest logit
    int label;  // its class; any class if something is not finite
    bool summed =
        false;  // whether the part's sum over classes, and what it lost, are here: else in shared memory
    Floats2 sum = {0.0f, 0.0f};
    bool heard = false;  // whether the discriminator's logit is here: else in shared memory
    float known = 0.0f;
};

EDGEOSR_DEVICE float norm_of(Sample const& s) {  // |z|, not below FLOOR
    return shared_load_f32(result(kNorm, s.column));
}
EDGEOSR_DEVICE float jacobian_of(Sample const& s) {  // J; 1 without a Jacobian norm
    return shared_load_f32(result(kJacobian, s.column));
}
EDGEOSR_DEVICE float known_of(Sample const& s) {  // the discriminator's logit of "known"; 0 without one
    if (s.heard) return s.known;
    return s.p.layers > 0 ? shared_load_f32(result(kLogit, s.column)) : 0.0f;
}
EDGEOSR_DEVICE float sum_of(Sample const& s) {  // the part's term, over all classes but the top one
    return s.summed ? s.sum.x : shared_load_f32(result(kSums, s.column * kMaxParts + s.part));
}
// The sum of a part over all classes but the top one, and `own` more: rounded once, for what the sum's
// additions lost is added first. It lies where the part's value comes.
EDGEOSR_DEVICE float sum_with(Sample const& s, float own) {
    if (s.summed) return s.sum.x + (s.sum.y + own);
    return sum_of(s) + (shared_load_f32(result(kValues, s.column * kMaxParts + s.part)) + own);
}
EDGEOSR_DEVICE float number_of(Sample const& s, int index) {  // one of the part's numbers
    return load_f32(s.p.scorer + s.p.part[s.part].numbers_at + index * 4);
}

// z times one of the part's rows, its bias added.
EDGEOSR_DEVICE float product_of(Sample const& s, int row) {
    row += s.p.part[s.part].row;
    return load_shared_by_blocks_f32(s.products + row) + load_f32(split_bias(s.p) + row);
}

// The largest of the part's products; NaN if one is.
EDGEOSR_DEVICE float largest_product_of(Sample const& s) {
    float largest = -float_from_bits(0x7f800000u);
#pragma unroll 4
    for (int row = lane_again(); row < s.p.part[s.part].rows; row += 32) {
        float const product = product_of(s, row);
        if (product > largest || product != product) largest = product;
    }
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        float const other = shuffle_xor(largest, lanes);
        if (other > largest || other != other) largest = other;
    }
    return largest;
}

// What the losses need of the scorer.
struct HeadConstants {
    float temperature, cos_margin, sin_margin;
    bool cosine;
};

EDGEOSR_DEVICE HeadConstants head_constants(FusedScoreParams const& p) {
    ScorerConstants const* constants = kept_constants();
    return {shared_load_f32(&constants->temperature),
            shared_load_f32(&constants->cos_margin),
            shared_load_f32(&constants->sin_margin),
            p.head == kHeadCosine};
}

EDGEOSR_DEVICE float softplus(float x) {
    return (x > 0.0f ? x : 0.0f) + log_one_plus(exponential(-absolute(x)));
}

// T s with the margin on: T cos(arccos(c) + m) for a cosine.
EDGEOSR_DEVICE float with_margin(HeadConstants const& head, float logit) {
    if (head.cosine) {
        float const square = (1.0f - logit) * (1.0f + logit);
        float const sine = square_root(square > 0.0f ? square : 0.0f);
        logit = logit * head.cos_margin - sine * head.sin_margin;
    }
    return logit * head.temperature;
}

// The parts, each as its module in edgeosr/scoring/parts says it.

EDGEOSR_DEVICE float log_jacobian(Sample const& s) {
    return logarithm(not_below_floor(jacobian_of(s)));
}

EDGEOSR_DEVICE float discriminator(Sample const& s) {
    return -known_of(s);
}

EDGEOSR_DEVICE float movr_loss_of_class(HeadConstants const& head, float logit) {
    return softplus(with_margin(head, logit));
}
EDGEOSR_DEVICE float movr_loss(Sample const& s) {
    return sum_with(s, softplus(-with_margin(head_constants(s.p), s.top)));
}

EDGEOSR_DEVICE float max_logit(Sample const& s) {
    return -s.top;
}

EDGEOSR_DEVICE float log_norm(Sample const& s) {
    return -logarithm(norm_of(s));
}

EDGEOSR_DEVICE float ovr_loss_of_class(HeadConstants const& head, float logit) {
    return softplus(logit * head.temperature);
}
EDGEOSR_DEVICE float ovr_loss(Sample const& s) {
    return sum_with(s, softplus(-s.top * head_constants(s.p).temperature));
}

EDGEOSR_DEVICE float raw_jacobian(Sample const& s) {
    return logarithm(not_below_floor(jacobian_of(s) * norm_of(s)));
}

// numbers: the mean of each class, then the deviations.
EDGEOSR_DEVICE float class_jacobian(Sample const& s) {
    return (raw_jacobian(s) - number_of(s, s.label)) / number_of(s, s.p.classes + s.label);
}

EDGEOSR_DEVICE float bank(Sample const& s) {
    return -largest_product_of(s) / norm_of(s);
}

EDGEOSR_DEVICE float relative_mahalanobis(Sample const& s) {
    return -number_of(s, 0) * largest_product_of(s);
}

}  // namespace edgeosr

// A part from outside, for tests and experiments: a file with its function and its line.
#ifdef EDGEOSR_MORE_PARTS
#include EDGEOSR_MORE_PARTS
#else
#define EDGEOSR_MORE_PARTS_LIST(PART, SUM)
#endif

// Code (the `code` of its Python class), name; with SUM its term of a class too; LATE: it needs the
// discriminator's logit, which comes last. kernels/parts.py reads this.
#define EDGEOSR_PARTS(PART, SUM, LATE)    \
    PART(0, log_jacobian)                 \
    LATE(1, discriminator)                \
    SUM(2, movr_loss, movr_loss_of_class) \
    PART(3, max_logit)                    \
    PART(4, log_norm)                     \
    SUM(5, ovr_loss, ovr_loss_of_class)   \
    PART(6, raw_jacobian)                 \
    PART(7, bank)                         \
    PART(8, relative_mahalanobis)         \
    PART(9, class_jacobian)               \
    EDGEOSR_MORE_PARTS_LIST(PART, SUM)

namespace edgeosr {

#define EDGEOSR_NOTHING(...)
#define EDGEOSR_VALUE(code, name, ...) \
    case code:                         \
        return name(s);
#define EDGEOSR_TERM(code, name, term) \
    case code:                         \
        return term(head, logit);
#define EDGEOSR_SUM_VALUE(code, name, term)                          \
    case code:                                                       \
        s.sum = sum([&](float logit) { return term(head, logit); }); \
        return name(s);
#define EDGEOSR_IS_SO(code, ...) case code:

// The value of the part at `s`; NaN for a code without a function.
EDGEOSR_DEVICE float part_value(Sample const& s) {
    switch (s.p.part[s.part].code) {
        EDGEOSR_PARTS(EDGEOSR_VALUE, EDGEOSR_VALUE, EDGEOSR_VALUE)
        default:
            return float_from_bits(0x7fc00000u);
    }
}

// The same of code `code`, with its sum over classes from sum(term): of term(logit) over all classes but the
// top one, and what its additions lost. Not of a part that waits for the discriminator.
template <class Sum>
EDGEOSR_DEVICE float part_value_with(int code, Sample& s, HeadConstants const& head, Sum const& sum) {
    s.summed = true;
    switch (code) {
        EDGEOSR_PARTS(EDGEOSR_VALUE, EDGEOSR_SUM_VALUE, EDGEOSR_NOTHING)
        default:
            return float_from_bits(0x7fc00000u);
    }
}

// The same of a part that waits for the discriminator.
EDGEOSR_DEVICE float late_value(int code, Sample const& s) {
    switch (code) {
        EDGEOSR_PARTS(EDGEOSR_NOTHING, EDGEOSR_NOTHING, EDGEOSR_VALUE)
        default:
            return float_from_bits(0x7fc00000u);
    }
}

EDGEOSR_DEVICE bool sums_over_classes(int code) {
    switch (code) {
        EDGEOSR_PARTS(EDGEOSR_NOTHING, EDGEOSR_IS_SO, EDGEOSR_NOTHING)
        return true;
        default:
            return false;
    }
}

EDGEOSR_DEVICE bool needs_discriminator(int code) {
    switch (code) {
        EDGEOSR_PARTS(EDGEOSR_NOTHING, EDGEOSR_NOTHING, EDGEOSR_IS_SO)
        return true;
        default:
            return false;
    }
}

// What a class adds to the sum of a part that has one.
EDGEOSR_DEVICE float class_term(int code, HeadConstants const& head, float logit) {
    switch (code) {
        EDGEOSR_PARTS(EDGEOSR_NOTHING, EDGEOSR_TERM, EDGEOSR_NOTHING)
        default:
            return 0.0f;
    }
}

#undef EDGEOSR_NOTHING
#undef EDGEOSR_VALUE
#undef EDGEOSR_SUM_VALUE
#undef EDGEOSR_TERM
#undef EDGEOSR_IS_SO

}  // namespace edgeosr
