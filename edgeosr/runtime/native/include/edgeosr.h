/* libedgeosr: an image classifier that can say "unknown", for C99 and C++ programs.
 *
 *   edgeosr_runtime *runtime = NULL;
 *   if (edgeosr_open("cats.edgeosr", NULL, &runtime) != EDGEOSR_OK) { puts(edgeosr_last_error()); return 1; }
 *   edgeosr_frame frame = {sizeof frame, EDGEOSR_BGR8, 480, 640, {pixels, NULL}, {1920, 0}};
 *   edgeosr_verdict verdict;
 *   if (edgeosr_judge(runtime, &frame, 1, &verdict, sizeof verdict) == EDGEOSR_OK) puts(verdict.label);
 *   edgeosr_close(runtime);
 *
 * Threads: any number may call any function on one runtime at once, but for edgeosr_close, after which nobody
 * may use it. Join your threads before the process ends. On onnxruntime no call waits for another's
 * inference; on OpenVINO as many run at once as there are processors, each with a network of its own, which
 * is compiled when it is first needed and kept; on TensorRT four run at once. After the first frame of a
 * size, edgeosr_judge allocates nothing of its own, but for such a network, for a size that is not among
 * the last 16 (OpenVINO) or 8 (TensorRT, of each of the four), and where more calls run at once than ever
 * before: each of them has room of its own, which is made in its first frame of a size. What the back end
 * does inside is its own affair.
 *
 * Sizes: a structure begins with its size, or its size is passed along, so that a program that was compiled
 * with another header is refused, and not misread. Set what you do not use to zero: in a structure, zero
 * means the default.
 *
 * Errors: every function that can fail returns a status; edgeosr_last_error tells this thread what was
 * expected, what came, and what to do. Nothing is printed, and no exception leaves the library.
 */
#ifndef EDGEOSR_H
#define EDGEOSR_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define EDGEOSR_API __attribute__((visibility("default")))
#else
#define EDGEOSR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define EDGEOSR_ABI 1         /* grows when a program must be compiled anew */
#define EDGEOSR_MOST_PARTS 16 /* score parts of a bundle, at most */

/* A bundle that is open: opaque. */
typedef struct edgeosr_runtime edgeosr_runtime;

typedef enum edgeosr_status {
    EDGEOSR_OK = 0,
    EDGEOSR_BAD_ARGUMENT = 1,   /* a NULL, a size, a number or a name that cannot be used */
    EDGEOSR_BAD_BUNDLE = 2,     /* not there, damaged, foreign, or of another version */
    EDGEOSR_BAD_FRAME = 3,      /* a format, size or stride that cannot be used, or that the bundle refuses */
    EDGEOSR_NO_BACKEND = 4,     /* no library that runs networks was found, or one that is too old */
    EDGEOSR_BACKEND_FAILED = 5, /* it failed; the runtime stays usable */
    EDGEOSR_NOT_VERIFIED = 6,   /* the golden frames are judged otherwise than where the bundle was made */
    EDGEOSR_NO_MEMORY = 7,      /* the runtime stays usable */
    EDGEOSR_CANNOT_READ = 8,    /* the disk or a permission; the text says which file */
    EDGEOSR_NO_PREVIOUS = 9,    /* nothing to roll back to */
    EDGEOSR_INTERNAL = 10       /* a fault of this library: please report its text */
} edgeosr_status;

typedef enum edgeosr_format {
    EDGEOSR_RGB8 = 0, /* 3 bytes a pixel */
    EDGEOSR_BGR8 = 1, /* 3 bytes a pixel, as OpenCV has them */
    EDGEOSR_NV12 = 2, /* plane 0: Y; plane 1: U and V of 2 x 2 pixels, as cameras and decoders give; BT.601 */
    EDGEOSR_YUYV = 3, /* Y0 U Y1 V of two pixels, as USB cameras give; the width is even; BT.601 */
    EDGEOSR_GRAY8 = 4 /* a byte a pixel; the network sees it three times */
} edgeosr_format;

/* How to open a bundle. Yours; read during the call only. */
typedef struct edgeosr_options {
    size_t struct_bytes;         /* sizeof(edgeosr_options) */
    char const* backend;         /* "auto" (also NULL), "onnxruntime", "openvino" or "tensorrt"; "auto" passes
                                    over what cannot run here, for lack of memory too, and edgeosr_info says
                                    why; one that is named runs, or opening fails */
    char const* backend_library; /* path of its library, with a slash in it, or a name for the system to find
                                    (with "auto": of onnxruntime, which is then taken); it alone is
                                    tried. NULL: what EDGEOSR_ONNXRUNTIME, EDGEOSR_OPENVINO or
                                    EDGEOSR_TENSORRT names, alone, if it is set (relative paths are refused);
                                    else the usual names */
    int32_t threads;             /* of one inference; 0: one; -1: one a physical core */
    int32_t warmup_frames;       /* black frames judged at once, at most 10,000, of the size that
                                    edgeosr_warm_up tells; 0: one; -1: none */
    double warmup_limit_s;       /* seconds that each of them, and each golden frame, may take; 0: 60;
                                    -1: no limit */
    int32_t verify;              /* 1: judge the golden frames first, and refuse to open if they differ */
    int32_t reserved;            /* 0 */
} edgeosr_options;

/* A frame in your memory; read during the call only. */
typedef struct edgeosr_frame {
    size_t struct_bytes; /* sizeof(edgeosr_frame), the same in all frames of a call */
    int32_t format;      /* an edgeosr_format */
    int32_t height_px;
    int32_t width_px;
    void const* plane[2];   /* the second for EDGEOSR_NV12 only */
    size_t stride_bytes[2]; /* from one row to the next; 0: without gaps */
} edgeosr_frame;

/* What is said of one frame. Larger scores and parts mean more unknown. */
typedef struct edgeosr_verdict {
    int32_t accepted;    /* 1: score <= threshold, and all is finite */
    int32_t finite;      /* 0: something was NaN or infinite; such a frame is never accepted */
    int32_t index;       /* of the nearest class, from 0 */
    int32_t part_count;  /* of parts, in the order of edgeosr_part_name */
    char const* label;   /* the class name, or "unknown" if not accepted; UTF-8, valid until edgeosr_close */
    char const* nearest; /* the class name, accepted or not; likewise */
    double threshold;    /* what the score was compared with */
    float score;         /* in standard deviations of known images; NaN if something was not finite */
    uint32_t generation; /* of the bundle: 1, and one more after each swap and rollback */
    int64_t latency_ns;  /* of the call; a batch shares it */
    float parts[EDGEOSR_MOST_PARTS]; /* NaN beyond part_count */
} edgeosr_verdict;

/* What the golden frames said: each is judged alone and in a batch, half of them RGB, half BGR. */
typedef struct edgeosr_verification {
    size_t struct_bytes;   /* sizeof(edgeosr_verification) */
    int32_t verdicts;      /* compared */
    int32_t agreed;        /* are the expected ones */
    int32_t ties;          /* too near to the threshold, or to a second class, to tell */
    int32_t differing;     /* are others; edgeosr_last_error tells the first */
    double score_distance; /* the largest, of scores that are finite on both sides */
    double score_band;     /* what rounding explains */
} edgeosr_verification;

/* Open a bundle, a NAME.edgeosr directory; every byte of it is checked first, its manifest against the
 * manifest's own digest (an older bundle has none), scorer.npz and golden.npz. A relative path is made an
 * absolute one at once.
 * options: NULL for the defaults. out: set to the runtime, or to NULL. Yours; free it with edgeosr_close.
 * At its end, and at that of a swap, of edgeosr_verify and of edgeosr_close, whether they succeed or not,
 * glibc's malloc_trim gives free memory of the whole process's heap back to the system: what your program has
 * freed, too. */
EDGEOSR_API edgeosr_status edgeosr_open(char const* bundle,
                                        edgeosr_options const* options,
                                        edgeosr_runtime** out);

/* Judge frames of one size and format: one, or a batch, in one inference on onnxruntime.
 * frames: [count]. count: 0 does nothing; at most 2^20. verdicts: [count], filled; untouched on an error.
 * verdict_bytes: sizeof(edgeosr_verdict). A call sees one bundle and one set of thresholds. */
EDGEOSR_API edgeosr_status edgeosr_judge(edgeosr_runtime* runtime,
                                         edgeosr_frame const* frames,
                                         size_t count,
                                         edgeosr_verdict* verdicts,
                                         size_t verdict_bytes);

/* Accept frames with a score up to this, whatever their class, from the next call on; NaN is refused,
 * INFINITY accepts every finite score. A swap brings the new bundle's own thresholds. */
EDGEOSR_API edgeosr_status edgeosr_set_threshold(edgeosr_runtime* runtime, double threshold);

/* Likewise with one threshold a class, [count], count the number of classes. */
EDGEOSR_API edgeosr_status edgeosr_set_class_thresholds(edgeosr_runtime* runtime,
                                                        double const* thresholds,
                                                        size_t count);

/* Read the thresholds in use: *count becomes 1, or the number of classes; thresholds may be NULL to ask.
 * capacity: numbers that thresholds has room for; EDGEOSR_BAD_ARGUMENT if they are too few. */
EDGEOSR_API edgeosr_status edgeosr_thresholds(edgeosr_runtime const* runtime,
                                              double* thresholds,
                                              size_t capacity,
                                              size_t* count);

/* Use another bundle from the next call on. It is opened, warmed up and must judge its golden frames as
 * expected; on any error the old one goes on. Calls in flight end with the old one, which is kept for
 * edgeosr_rollback. There must be room for two bundles, not for three: the one before is let go once the new
 * one's files are found good, so a swap that fails later leaves nothing to roll back to. Where an engine runs
 * and the new bundle has one, or an engine or a body runs and it has either, "auto" takes nothing less: past
 * an engine that does not run or decides otherwise it goes to the body where a body runs, and it falls back
 * to model.onnx only where the new bundle has neither, or model.onnx runs already. An engine for frames of
 * another size than the golden ones cannot judge them, and counts as one that decides otherwise; but where
 * such an engine runs, which opening took unverified, the new bundle's is taken so too, and "why" of
 * edgeosr_info says it. With "verify" of the options whatever decides otherwise fails the swap. A back end
 * that the options name stays the only one, and what it cannot run does not count: where a body runs,
 * "openvino" must run that of the new bundle, or model.onnx in float32 if it has none, whether it has engines
 * or not. EDGEOSR_BAD_FRAME: the new bundle takes frames of one size only, and the old one takes another
 * only, or judged another last. Before the first frame that is not known: look at "frame" of edgeosr_info
 * then. Swaps and rollbacks wait for each other; edgeosr_judge waits for none of them. */
EDGEOSR_API edgeosr_status edgeosr_swap(edgeosr_runtime* runtime, char const* bundle);

/* Go back to the bundle before, still loaded, with the thresholds it had; a second call comes forward again.
 * Nothing is asked of it: if it takes frames of another size only than come now, each is refused. */
EDGEOSR_API edgeosr_status edgeosr_rollback(edgeosr_runtime* runtime);

/* Judge the golden frames of the bundle, with its calibrated thresholds, whatever was set.
 * out: may be NULL. EDGEOSR_NOT_VERIFIED if a verdict is not the expected one, and out is filled then too; or
 * if the engine takes none of the golden frames. Where none was judged, out is all zero but for its size.
 * On onnxruntime they need room for four frames at once, which is let go; so is what frames before them took,
 * and the next frame is as slow as a first one. */
EDGEOSR_API edgeosr_status edgeosr_verify(edgeosr_runtime* runtime, edgeosr_verification* out);

/* Judge black frames, 0 to 10,000, as opening does; each may take limit_s seconds (0: any time, unlike in the
 * options), and is stopped then with EDGEOSR_BACKEND_FAILED, between two layers. They are of the only size
 * that the bundle or its engine takes, else of the network's input ("input" of edgeosr_info). On onnxruntime
 * the first two frames of each size are slower: of a camera's size, where the bundle takes any, judge two of
 * your own after edgeosr_open and edgeosr_swap; where it takes one, two of these serve. */
EDGEOSR_API edgeosr_status edgeosr_warm_up(edgeosr_runtime* runtime, int32_t frames, double limit_s);

/* Describe bundle and back end as one JSON object, with a NUL behind it. Its thresholds are numbers; an
 * infinite one is the text "inf" or "-inf", for JSON has none. capacity: bytes of json; needed: bytes with
 * the NUL, may be NULL. json may be NULL with capacity 0, to ask. The text may be longer at the next call,
 * for "why" may gain a reason and another thread may swap: with too little room it is EDGEOSR_BAD_ARGUMENT,
 * and needed says the bytes again.
 */
EDGEOSR_API edgeosr_status edgeosr_info(edgeosr_runtime const* runtime,
                                        char* json,
                                        size_t capacity,
                                        size_t* needed);

/* The name of a score part or a class of the bundle in use; NULL beyond the last. Valid until edgeosr_close.
 */
EDGEOSR_API const char* edgeosr_part_name(edgeosr_runtime const* runtime, size_t index);
EDGEOSR_API const char* edgeosr_class_name(edgeosr_runtime const* runtime, size_t index);

/* Free everything; NULL is fine. No other call may be in flight. */
EDGEOSR_API void edgeosr_close(edgeosr_runtime* runtime);

/* Of this thread's last call that failed: what was expected, what came, what to do. Valid until its next
 * call; "" if none has failed. */
EDGEOSR_API const char* edgeosr_last_error(void);

/* Of this library, such as "0.1.0"; and the EDGEOSR_ABI it was built with. */
EDGEOSR_API const char* edgeosr_version(void);
EDGEOSR_API int edgeosr_abi(void);

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif /* EDGEOSR_H */
