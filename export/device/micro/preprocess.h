/* Makes an image what the network takes: cut, resized and antialiased as in training, in integers.

   C99 and C++. Equal to run.py and preprocessing.json up to one level of 255. Nothing is allocated;
   the time goes with the larger of the image and the network's input. */

#ifndef PREPROCESS_H_
#define PREPROCESS_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Largest sides, in pixels, of an image and of a network's input: beyond them sums would not fit 32 bits. */
#define PREPROCESS_MAX_IMAGE 4096
#define PREPROCESS_MIN_SIDE 8
#define PREPROCESS_MAX_SIDE 1024

typedef enum {
  PREPROCESS_RGB888,    /* bytes R, G, B */
  PREPROCESS_RGB565_LE, /* 16 bits RRRRRGGG GGGBBBBB, the low byte first: uint16_t of most processors */
  PREPROCESS_RGB565_BE  /* the high byte first: as many cameras send it */
} PreprocessFormat;

typedef enum {
  PREPROCESS_SQUASH, /* all of the image, whatever its shape */
  PREPROCESS_CROP,   /* the square in its middle */
  PREPROCESS_PAD     /* all of it, in the middle of a border */
} PreprocessResize;

typedef struct {
  const uint8_t *pixels; /* rows from the top, pixels from the left */
  int32_t width, height; /* pixels, 1 to PREPROCESS_MAX_IMAGE */
  int32_t row_bytes;     /* from the beginning of a row to that of the next */
  PreprocessFormat format;
} PreprocessImage;

typedef struct {
  int32_t side; /* of the square that the network takes, pixels */
  PreprocessResize resize;
  int32_t crop_numerator, crop_denominator; /* CROP: side of the square as a share of the shorter side */
  uint8_t border;                           /* PAD: level of the border */
  int32_t zero_point; /* added to each level in [0, 255]: -128 where the input is int8, 0 for uint8 */
} PreprocessInput;

/* Writes side x side x 3 bytes, rows from the top, R G B, each the level + zero_point.

   Returns 0; or -1 and writes nothing where a number is outside its range. */
int preprocess(const PreprocessImage *image, const PreprocessInput *how, void *input);

#ifdef __cplusplus
}
#endif

#endif /* PREPROCESS_H_ */
