/* Judge a picture: judge_file BUNDLE.edgeosr PICTURE.ppm (binary PPM: ffmpeg or ImageMagick write it). */
#include <ctype.h>
#include <edgeosr.h>
#include <stdio.h>
#include <stdlib.h>

/* Read a number of the header; lines that begin with # are comments. */
static int number(FILE *file) {
    int letter, found = -1;
    while (isspace(letter = getc(file)) || letter == '#')
        if (letter == '#')
            while (letter != '\n' && letter != EOF) letter = getc(file);
    ungetc(letter, file);
    return fscanf(file, "%d", &found) == 1 ? found : -1;
}

/* Return the pixels, RGB without gaps; NULL, with a line on stderr, if it is no such file. */
static unsigned char *read_ppm(const char *path, int *height, int *width) {
    unsigned char *pixels = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL) perror(path);
    if (file != NULL && getc(file) == 'P' && getc(file) == '6' && (*width = number(file)) > 0 &&
        (*height = number(file)) > 0 && number(file) == 255 && *width < 16384 && *height < 16384) {
        size_t bytes = (size_t)*width * (size_t)*height * 3;
        getc(file); /* one blank behind the header */
        pixels = malloc(bytes);
        if (pixels != NULL && fread(pixels, 1, bytes, file) != bytes) {
            free(pixels);
            pixels = NULL;
        }
    }
    if (file != NULL && pixels == NULL) fprintf(stderr, "%s is no binary PPM of 8 bits\n", path);
    if (file != NULL) fclose(file);
    return pixels;
}

int main(int argc, char **argv) {
    edgeosr_runtime *runtime = NULL;
    edgeosr_verdict verdict;
    int height = 0, width = 0, failed;
    unsigned char *pixels = argc == 3 ? read_ppm(argv[2], &height, &width) : NULL;
    if (argc != 3) fprintf(stderr, "judge_file BUNDLE.edgeosr PICTURE.ppm\n");
    if (pixels == NULL) return 2;
    edgeosr_frame frame = {sizeof frame, EDGEOSR_RGB8, height, width, {pixels, NULL}, {0, 0}};
    failed = edgeosr_open(argv[1], NULL, &runtime) ||
             edgeosr_judge(runtime, &frame, 1, &verdict, sizeof verdict);
    if (failed)
        fprintf(stderr, "%s\n", edgeosr_last_error());
    else
        printf("%s (nearest %s, score %.3f, threshold %.3f)\n", verdict.label, verdict.nearest, verdict.score,
               verdict.threshold);
    edgeosr_close(runtime);
    free(pixels);
    return failed ? 1 : 0;
}
