// The passes themselves, included once per instruction set by passes.cpp with EDGEOSR_TARGET and
// EDGEOSR_NAMESPACE defined: vectors of 4 floats are written out (a pixel is one), the rest is the
// compiler's.

namespace EDGEOSR_NAMESPACE {

EDGEOSR_TARGET inline Vector4 load(float const* from) {
    Vector4 value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

/// Sum up to four rows into mid, or onto it.
template <int kRows, bool kOnto>
EDGEOSR_TARGET void add_rows(std::uint8_t const* const* rows, float const* weights, int count, float* mid) {
    std::uint8_t const* __restrict const r0 = rows[0];
    std::uint8_t const* __restrict const r1 = rows[kRows > 1 ? 1 : 0];
    std::uint8_t const* __restrict const r2 = rows[kRows > 2 ? 2 : 0];
    std::uint8_t const* __restrict const r3 = rows[kRows > 3 ? 3 : 0];
    float const w0 = weights[0];
    float const w1 = weights[kRows > 1 ? 1 : 0], w2 = weights[kRows > 2 ? 2 : 0];
    float const w3 = weights[kRows > 3 ? 3 : 0];
    float* __restrict const m = mid;
    for (int j = 0; j < count; ++j) {
        float sum = w0 * static_cast<float>(r0[j]);
        if (kRows > 1) sum += w1 * static_cast<float>(r1[j]);
        if (kRows > 2) sum += w2 * static_cast<float>(r2[j]);
        if (kRows > 3) sum += w3 * static_cast<float>(r3[j]);
        m[j] = kOnto ? m[j] + sum : sum;
    }
}

EDGEOSR_TARGET void down(
    std::uint8_t const* const* rows, float const* weights, int taps, int count, float* mid) {
    // Outputs at the edges have fewer taps than the others: the weights around them are zero.
    while (taps > 1 && weights[taps - 1] == 0.0f)
        --taps;
    while (taps > 1 && weights[0] == 0.0f)
        --taps, ++weights, ++rows;
    if (taps == 1) return add_rows<1, false>(rows, weights, count, mid);
    if (taps == 2) return add_rows<2, false>(rows, weights, count, mid);
    if (taps == 3) return add_rows<3, false>(rows, weights, count, mid);
    add_rows<4, false>(rows, weights, count, mid);
    int k = 4;
    for (; k + 4 <= taps; k += 4)
        add_rows<4, true>(rows + k, weights + k, count, mid);
    if (taps - k == 3) add_rows<3, true>(rows + k, weights + k, count, mid);
    if (taps - k == 2) add_rows<2, true>(rows + k, weights + k, count, mid);
    if (taps - k == 1) add_rows<1, true>(rows + k, weights + k, count, mid);
}

EDGEOSR_TARGET void widen(std::uint8_t const* bytes, int count, float* wide) {
    std::uint8_t const* __restrict const from = bytes;
    float* __restrict const to = wide;
    for (int j = 0; j < count; ++j)
        to[j] = static_cast<float>(from[j]);
}

/// One output pixel: the fourth lane is the next pixel's first channel, and nobody's.
EDGEOSR_TARGET inline Vector4 column(Bands const& bands, int begin, float const* mid, int i) {
    float const* from = mid + 3 * static_cast<std::size_t>(bands.first[i] - begin);
    float const* const weights = bands.weights.data() + static_cast<std::size_t>(i) * bands.taps;
    Vector4 even = weights[0] * load(from), odd = {0, 0, 0, 0};
    int k = 1;
    for (; k + 1 < bands.taps; k += 2) {
        odd += weights[k] * load(from + 3 * k);
        even += weights[k + 1] * load(from + 3 * k + 3);
    }
    if (k < bands.taps) odd += weights[k] * load(from + 3 * k);
    return even + odd;
}

EDGEOSR_TARGET void across(
    Bands const& bands, int begin, float const* mid, Planes const& out, std::size_t row) {
    Vector4 const scale = load(out.scale), shift = load(out.shift);
    float* const plane0 = out.planes[0] + row;
    float* const plane1 = out.planes[1] + row;
    float* const plane2 = out.planes[2] + row;
    for (int i = 0; i < bands.length; ++i) {
        Vector4 const value = column(bands, begin, mid, i) * scale + shift;
        plane0[i] = value[0];
        plane1[i] = value[1];
        plane2[i] = value[2];
    }
}

/// Values are never negative, so to cut off is to round down; 255 can become 255.0001.
EDGEOSR_TARGET inline std::uint8_t whole(float value) {
    int const rounded = static_cast<int>(value + kHalf);
    return static_cast<std::uint8_t>(rounded < 255 ? rounded : 255);
}

EDGEOSR_TARGET void across_rounded(Bands const& bands, int begin, float const* mid, std::uint8_t* bytes) {
    for (int i = 0; i < bands.length; ++i, bytes += 3) {
        Vector4 const value = column(bands, begin, mid, i);
        for (int channel = 0; channel < 3; ++channel)
            bytes[channel] = whole(value[channel]);
    }
}

EDGEOSR_TARGET void rounded(float const* mid, int count, Planes const& out, std::size_t row) {
    for (int channel = 0; channel < 3; ++channel) {
        float const scale = out.scale[channel], shift = out.shift[channel];
        float const* __restrict const from = mid + channel;
        float* __restrict const to = out.planes[channel] + row;
        for (int i = 0; i < count; ++i)
            to[i] = static_cast<float>(whole(from[3 * i])) * scale + shift;
    }
}

constexpr Passes passes{EDGEOSR_NAME, down, widen, across, across_rounded, rounded};

}  // namespace EDGEOSR_NAMESPACE

#undef EDGEOSR_NAMESPACE
#undef EDGEOSR_NAME
#undef EDGEOSR_TARGET
