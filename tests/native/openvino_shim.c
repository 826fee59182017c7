// OpenVINO, whose runs wait and then fail while it is told to, and which makes no network while it is told
// to; made by openvino_shim.py.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <unistd.h>
enum { GENUINE, WAITING, FAILING };
static atomic_int mode, inside, refusing, refused;
void shim_set(int to) { mode = to; }
int shim_inside(void) { return inside; }
void shim_refuse(int to) { refusing = to; }
int shim_refused(void) { return refused; }
int ov_infer_request_infer(void *request) {
    int (*genuine)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, "ov_infer_request_infer");
    ++inside;
    while (mode == WAITING) usleep(1000);
    return mode == FAILING ? -1 : genuine(request);
}
int ov_compiled_model_create_infer_request(void const *compiled, void **made) {
    int (*genuine)(void const *, void **) =
        (int (*)(void const *, void **))dlsym(RTLD_NEXT, "ov_compiled_model_create_infer_request");
    if (refusing) ++refused;
    return mode == FAILING || refusing ? -1 : genuine(compiled, made);
}
