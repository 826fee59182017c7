/* Judge a picture: judge_file BUNDLE.edgeosr PICTURE.ppm (binary PPM, as ffmpeg, ImageMagick and GIMP write). */
#include <edgeosr.h>
#include <stdio.h>
#include <stdlib.h>

/* Return the pixels, RGB without gaps; NULL if it is no such file. */
static unsigned char *read_ppm(const char *path, int *height, int *width) {
    unsigned char *pixels = NULL;
    FILE *file = fopen(path, "rb");
    if (file != NULL && fscanf(file, "P6 %d %d 255%*c", width, height) == 2 && *width > 0 && *height > 0 &&
        *width < 16384 && *height < 16384) {
        size_t bytes = (size_t)*width * (size_t)*height * 3;
        pixels = malloc(bytes);
        if (pixels != NULL && fread(pixels, 1, bytes, file) != bytes) {
            free(pixels);
            pixels = NULL;
        }
    }
    if (file != NULL) fclose(file);
    return pixels;
}

int main(int argc, char **argv) {
    edgeosr_runtime *runtime = NULL;
    edgeosr_verdict verdict;
    int height = 0, width = 0, failed;
    unsigned char *pixels = argc == 3 ? read_ppm(argv[2], &height, &width) : NULL;
    if (pixels == NULL) {
        fprintf(stderr, "judge_file BUNDLE.edgeosr PICTURE.ppm\n");
        return 2;
    }
    edgeosr_frame frame = {sizeof frame, EDGEOSR_RGB8, height, width, {pixels, NULL}, {0, 0}};
    failed = edgeosr_open(argv[1], NULL, &runtime) || edgeosr_judge(runtime, &frame, 1, &verdict, sizeof verdict);
    if (failed)
        fprintf(stderr, "%s\n", edgeosr_last_error());
    else
        printf("%s (nearest %s, score %.3f, threshold %.3f)\n", verdict.label, verdict.nearest, verdict.score,
               verdict.threshold);
    edgeosr_close(runtime);
    free(pixels);
    return failed ? 1 : 0;
}
