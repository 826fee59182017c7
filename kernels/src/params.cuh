// What crosses from host to device: plain structs of sizes and pointers. No includes, fixed-width types only,
// so that nvcc, NVRTC, g++ and a ctypes mirror (kernels/params.py) agree on every offset (LP64 or LLP64).
#pragma once

namespace edgeosr {

// Limits of one launch. Those of a scorer are KERNEL_LIMITS of edgeosr/scoring/limits.py (a test holds them
// equal); kernels/packing.py and kernels/plan.py refuse what is beyond them, in words.
enum Limit : int {
    kThreads = 512,  // a block
    kWarps = 16,
    kMaxBatch = 1024,        // B
    kMaxProbes = 32,         // K
    kMaxDimension = 2048,    // D
    kMaxPositions = 256,     // Q
    kMaxClasses = 4096,      // C
    kMaxLayers = 6,          // of the discriminator, the last included
    kMaxWidth = 1024,        // of a hidden layer
    kMaxTaps = 128,          // of the autocorrelation table
    kMaxParts = 16,          // of the score
    kMaxPartRows = 4096,     // of the split matrix, for one part
    kMaxPartNumbers = 8192,  // of one part: two a class
    kMaxSlabs = 16,          // parts of D, one block each
    kKeptClasses = 64,       // of as many, phase B keeps the logits in shared memory
    kMaxSlabWidth = 256,     // channels
    kGroup = 16,             // channels of a chunk of the map
    kTileMma = 8,            // samples of a tile: the columns of one mma
    kTileFma = 4,
    kStageAt = 48,        // shared memory of phase A: what has a fixed size comes first
    kEvenAt = 4976,       // of phase B: outputs of the hidden layers 0, 2, ..
    kMostCluster = 8,     // blocks of a cluster: as many as every device with clusters can place
    kMostLoneTiles = 8,   // row tiles of a last hidden layer that each block has for itself
    kMailboxBytes = 288,  // two mailboxes for each layer, and a word of each block for each
};

enum Head : int { kHeadCosine = 0, kHeadLinear = 1, kHeadExternal = 2 };
enum Layout : int { kLayoutChannelsFirst = 0, kLayoutChannelsLast = 1 };
enum Activation : int {
    kIdentity = 0,
    kRelu = 1,
    kLeakyRelu = 2,
    kClip = 3,
    kHardSwish = 4,  // from here on act' is not a constant per piece: "smooth"
    kSilu = 5,
    kGelu = 6,
    kGeluTanh = 7,
};
enum Flag : unsigned { kWritten = 1u, kAccepted = 2u, kNotFinite = 4u, kFlagBits = 255u };

constexpr unsigned kVerdictLayout = 1;  // version of FusedVerdict

// One sample's answer, 80 bytes, aligned to 16. Without kWritten nothing was said. A launch whose params say
// `numbered` needs cleared verdicts once: it puts the number before, and 1, into bits 8 to 31 of `flags`,
// modulo 2^24. Without, these bits are 0, and who expects a verdict clears it before each launch.
struct alignas(16) FusedVerdict {
    int label;  // of the top logit, also if not accepted; any class if kNotFinite
    unsigned flags;
    float score;             // NaN if kNotFinite
    unsigned layout;         // kVerdictLayout, and the number of values << 16
    float value[kMaxParts];  // the score parts in the scorer's order, larger = more unknown; NaN beyond them
};

// First bytes of the packed scorer. In device memory, so that a captured graph follows a change.
struct ScorerConstants {
    float threshold;
    float temperature;
    float cos_margin, sin_margin;
    float slope;            // LeakyReLU of the discriminator
    float probe_scale;      // n / K / gain^2
    float activation[2];    // leaky_relu: alpha; clip: low, high
    float last_bias;        // of the discriminator's last layer, if it has two or more
    float unused[7];        // to 64 bytes
    float gain[kMaxParts];  // weight / std of a part; 0 beyond them
    float mean[kMaxParts];  // 192 bytes in all
};

// One score part of the scorer.
struct PartPlace {
    int code;             // of its function, see parts.cuh
    int row, rows;        // its rows of the split matrix, biases added to their products
    unsigned numbers_at;  // float, its numbers
};

// Offsets are in bytes from `scorer` or `workspace`, all multiples of 16; strides are in elements.
struct FusedScoreParams {
    void const* input;            // y [B, D, Q] or [B, Q, D]; or z [B, D]
    void const* tangents;         // t [K, B, D]; null if K = 0
    void const* logits;           // [B, C] of an external head, else null
    unsigned char const* scorer;  // packed (kernels/packing.py), aligned to 16 bytes
    unsigned char* workspace;     // aligned to 16 bytes; counters zero before the first launch
    FusedVerdict* verdicts;       // [B], aligned to 16 bytes
    long long sample_stride;      // of y or z
    long long tangent_sample_stride;
    long long probe_stride;
    long long logits_stride;
    unsigned long long stats_at;     // workspace: [tile, slab, samples, stats] float
    unsigned long long partials_at;  // workspace: [tile, slab, samples, rows] float
    // scorer
    unsigned split_at;               // matrix of layer 1 over head over the parts' rows, [D_padded, rows]
    unsigned split_bias_at;          // float [rows]
    unsigned layer_at[kMaxLayers];   // layers 2 .. last - 1 (index 1 ..); the last layer's float vector
    unsigned bias_at[kMaxLayers];    // their float biases (the last layer's is in the constants)
    unsigned later_at, later_bytes;  // layers 2 .. last and their biases, one piece (fetched ahead to L2)
    unsigned table_at;               // float [D, taps]
    unsigned offsets_at;             // int [taps, 2], (vertical, horizontal)
    int width[kMaxLayers];           // outputs of layer i, unpadded; the last is 1
    int layers;                      // 0: no discriminator
    int rows;                        // of the split matrix: hidden_rows + padded classes (0 if external) +
                                     // each part's, padded
    int hidden_rows;                 // layer 1's outputs padded to 16; 0 without a discriminator
    int dimension;                   // D
    int classes;
    int head;
    int activation;
    int taps;
    int parts;  // of the score, 1 ..
    PartPlace part[kMaxParts];
    // launch
    int batch;
    int height, width_of_map;  // H, W
    int positions, words;      // Q = H W; words of 32 bits for as many, rounded up to an even number
    int width_inverse;         // number * this >> 16 is number / W, for numbers below 256
    float position_share;      // 1 / Q
    int layout;
    int position_stride;  // channels last: elements from one position to the next, >= D
    int probes;           // K
    int logits_half;      // 1 if `logits` are fp16
    // plan
    int slabs;
    int slabs_inverse;    // block * this >> 20 is block / slabs
    int samples;          // of a tile, 1 .. T: fewer where the device has multiprocessors left
    int samples_inverse;  // number * this >> 16 is number / samples
    int last_inverse;     // the same of the last tile, which may have fewer
    int slab_width;       // channels, a multiple of 16
    int z_pitch;          // floats from one sample's z to the next: 4 mod 8; 16 mod 32 beside fp32 tangents
    int stats;            // floats a (tile, slab, sample): |z|^2, J^2 Q^2, then |t_k|^2 [K], t_k . z [K]
    int chunks_per_half;  // (16 channels, sample) chunks of the map staged at once; two halves unless one
                          // holds all
    int chunk_bytes;      // one chunk's share of shared memory, a multiple of 16
    int row_pitch;        // channels last: elements between two channels in a chunk; else Q
    int cluster;          // blocks of a cluster, which have one tile: kMostCluster; 1: no cluster
    int mailboxes_at;     // shared memory: what the blocks of a cluster send one another (mail.cuh)
    int mailed_layers;    // hidden layers whose values go by mail, the first ones: all, or all but the last
    int hidden_quads;     // rows of layer 1 that a block of the cluster adds up, in fours
    int keeps_layers;  // 1: a block of a cluster has its rows' weights of the hidden layers in shared memory
    // How the threads of the block that finishes a tile share a hidden layer (hidden.cuh).
    int class_warps;                // warps that classes and parts have for themselves; 0: all, in turn
    int layer_parts[kMaxLayers];    // along k
    int layer_share[kMaxLayers];    // tensor cores: steps of k of a part
    int layer_inverse[kMaxLayers];  // number * this >> 20 is number / row tiles; of FMAs / rows
    int layer_tiles[kMaxLayers];    // row tiles that a block of the cluster has
    int layer_idle[kMaxLayers];     // blocks of the cluster that have none
    int parts_inverse[kMaxLayers];  // number * this >> 20 is number / parts, in a cluster
    // shared memory, bytes: phase A (block.cuh)
    int slopes_at;  // [16, Q] float, smooth activations of fp16 maps
    int masks_at;   // [16, 2 words + 1, 8] unsigned, maps of more than 64 positions (room is kept below 32,
                    // too)
    int inside_at;  // [taps rounded up to 4, words] unsigned, and an offset each; of two words [taps, 4]
    int z_at;       // [T, z_pitch] float; of maps each channel's J^2 behind it, the same again
    int halves_at;  // high [8, slab_width + 8], low the same, fp16 weights; where the map was before
    // phase B (verdict.cuh)
    int odd_at;   // outputs of the hidden layers 1, 3, ..
    int sums_at;  // parts of a hidden layer
    int last_at;  // float, the last layer's weights
    // what a block of a cluster has of the scorer, in both phases (mail.cuh)
    int own_at;                    // the constants
    int own_bias_at[kMaxLayers];   // float, biases of its rows
    int own_layer_at[kMaxLayers];  // their weights
    int columns_at, kept_steps;    // the first of the slab's columns (kept_columns.cuh): so many steps of k
    // of the launch; among the others of it, ptxas 13.0 spilled on sm_87 and sm_89
    int numbered;     // 1: verdicts have their launch's number (launch_number.cuh)
    int sharer_bits;  // groups of warps that share a half's chunks out: 2 to this (staging.cuh)
};

}  // namespace edgeosr
