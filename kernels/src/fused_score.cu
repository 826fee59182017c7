// The fused scoring kernel: one launch from the backbone's last tensor to 32-byte verdicts.
// Compiled alone by nvcc or NVRTC (11.8 to 13): it includes nothing but the .cuh files beside it.
//
// Grid: tiles x slabs blocks of 512 threads, block = tile * slabs + slab. A tile is T samples (8 with fp16
// weights, the columns of one mma; 4 with fp32 weights). A slab is slab_width channels of D: a multiple of 16
// that depends on D, C and the hidden width and never on B.
//
// Phase A, every block: its tile's samples, its channels.
//   map source      stage y in shared memory, (16 channels, sample) chunks, two halves in flight (staging.cuh);
//                   activation, mean and the Jacobian's bit counts or products (pooling.cuh) -> z, J^2 partial
//   tangent source  z; |t_k|^2 and t_k . z partials (tangents.cuh)
//   both            not finite on the raw bits -> that z (or |t_k|^2) becomes NaN, which nothing later can lose;
//                   |z|^2 partial; slab of z times its columns of the split matrix = layer 1 over head
//                   (dense.cuh) -> partials [rows]; the first tile's blocks prefetch the later layers to L2
// Then __threadfence, barrier, atomicInc on the tile's counter, which wraps to 0 by itself. The block that
// arrives last does Phase B for the tile: partials added in slab order, hidden layers in shared memory, head,
// loss, fusion, threshold, verdict (verdict.cuh). No grid barrier, no spinning, no float atomics; a sample's
// additions have one order that depends on the scorer, the map's shape and the dtypes alone: the same bits for
// every block order, position in the batch, batch size and alignment.
//
// fp16 weights: z of a slab is scaled by a power of two to at most 1 and split into a high and a low half (two
// mma a fragment: z keeps about 22 bits); hidden values are one fp16 each, and beyond 65504 "not finite".
//
// Workspace: unsigned counters [tiles] | stats [tile, slab, T, 2 + 2 K] | partials [tile, slab, T, rows], floats.
// Entries: fused_score_{map|tangents}_{mma|fma}_{f16|f32}: source, weights, dtype of y or of z and t.
#include "params.cuh"
#include "primitives.cuh"
