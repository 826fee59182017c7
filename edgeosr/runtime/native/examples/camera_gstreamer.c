/* Any source that GStreamer opens (a camera, RTSP, a file): judge its newest frame, print each verdict.
 *
 *   camera_gstreamer BUNDLE.edgeosr SOURCE [FRAMES]
 *   camera_gstreamer cats.edgeosr "rtspsrc location=rtsp://camera/stream latency=50 ! decodebin"
 *   camera_gstreamer cats.edgeosr "v4l2src ! decodebin"
 *
 * The sink keeps one frame and drops the older one, so a slow network never falls behind. Without a frame for
 * five seconds the pipeline is built anew: cameras restart, and networks fail. */
#include <edgeosr.h>
#include <gst/app/gstappsink.h>
#include <gst/video/video.h>
#include <stdio.h>
#include <stdlib.h>

static char const SINK[] =
    "%s ! videoconvert ! video/x-raw,format=NV12 ! appsink name=sink max-buffers=1 drop=true sync=false";

/* Judge one sample; return whether it was judged. The strides are the decoder's own. */
static int judge(edgeosr_runtime* runtime, GstSample* sample) {
    GstVideoInfo info;
    GstVideoFrame picture;
    edgeosr_verdict said;
    edgeosr_status status;
    if (!gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) ||
        !gst_video_frame_map(&picture, &info, gst_sample_get_buffer(sample), GST_MAP_READ))
        return 0;
    edgeosr_frame frame = {sizeof frame,
                           EDGEOSR_NV12,
                           GST_VIDEO_FRAME_HEIGHT(&picture),
                           GST_VIDEO_FRAME_WIDTH(&picture),
                           {GST_VIDEO_FRAME_PLANE_DATA(&picture, 0), GST_VIDEO_FRAME_PLANE_DATA(&picture, 1)},
                           {(size_t)GST_VIDEO_FRAME_PLANE_STRIDE(&picture, 0),
                            (size_t)GST_VIDEO_FRAME_PLANE_STRIDE(&picture, 1)}};
    status = edgeosr_judge(runtime, &frame, 1, &said, sizeof said);
    gst_video_frame_unmap(&picture);
    if (status != EDGEOSR_OK) {
        fprintf(stderr, "%s\n", edgeosr_last_error());
        return 0;
    }
    printf("%s %.3f %.2f ms\n", said.label, said.score, (double)said.latency_ns / 1e6);
    fflush(stdout);
    return 1;
}

/* Judge what comes until the source falls silent; return how many frames that were. */
static long run(edgeosr_runtime* runtime, char const* source, long most) {
    long count = 0;
    GError* error = NULL;
    char* text = g_strdup_printf(SINK, source);
    GstElement* pipeline = gst_parse_launch(text, &error);
    g_free(text);
    if (error != NULL) {
        fprintf(stderr, "%s\n", error->message);
        g_error_free(error);
        if (pipeline != NULL) gst_object_unref(pipeline);
        return -1;
    }
    GstElement* sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    while (count < most) {
        GstSample* sample = gst_app_sink_try_pull_sample(GST_APP_SINK(sink), 5 * GST_SECOND);
        if (sample == NULL) break;
        count += judge(runtime, sample);
        gst_sample_unref(sample);
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(sink);
    gst_object_unref(pipeline);
    return count;
}

int main(int argc, char** argv) {
    edgeosr_runtime* runtime = NULL;
    long left = argc == 4 ? atol(argv[3]) : 0, count = 0;
    gst_init(&argc, &argv);
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "camera_gstreamer BUNDLE.edgeosr SOURCE [FRAMES]\n");
        return 2;
    }
    if (edgeosr_open(argv[1], NULL, &runtime) != EDGEOSR_OK) {
        fprintf(stderr, "%s\n", edgeosr_last_error());
        return 1;
    }
    while (count >= 0 && (argc == 3 || left > 0)) {
        count = run(runtime, argv[2], argc == 3 ? 1000000000L : left);
        left -= count;
        if (count >= 0 && (argc == 3 || left > 0)) {
            fprintf(stderr, "no frame for five seconds; opening the source again\n");
            g_usleep(500000);
        }
    }
    edgeosr_close(runtime);
    return count < 0 ? 1 : 0;
}
