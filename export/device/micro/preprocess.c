/* Cuts and resizes an image in integers, in the two passes of Pillow's bilinear filter. */

#include "preprocess.h"

#define CHANNELS 3

/* A cut of the image along one axis, and how many pixels it becomes. */
typedef struct {
  int32_t first, from, to;
} Axis;

/* Which pixels of a cut go into one that is resized: of each, 2 max(from, to) weights less its distance. */
typedef struct {
  int32_t first, end, middle, reach, step;
} Window;

static Window window_at(const Axis *axis, int32_t place) {
  Window window;
  window.step = axis->to;
  window.middle = (2 * place + 1) * axis->from;
  /* The triangle is one pixel of the larger grid wide on either side: this is the antialiasing. */
  window.reach = 2 * (axis->from > axis->to ? axis->from : axis->to);
  window.first = (window.middle - window.reach + axis->to) / (2 * axis->to);
  window.end = (window.middle + window.reach + axis->to) / (2 * axis->to);
  if (window.first < 0) window.first = 0;
  if (window.end > axis->from) window.end = axis->from;
  return window;
}

static uint32_t weight_of(const Window *window, int32_t pixel) {
  const int32_t distance = (2 * pixel + 1) * window->step - window->middle;
  return (uint32_t)(window->reach - (distance < 0 ? -distance : distance));
}

static uint32_t rounded(uint32_t sum, uint32_t weights) { return (sum + weights / 2) / weights; }

static void read_pixel(const PreprocessImage *image, int32_t x, int32_t y, uint32_t levels[CHANNELS]) {
  const uint8_t *row = image->pixels + (int64_t)y * image->row_bytes;
  if (image->format == PREPROCESS_RGB888) {
    for (int c = 0; c < CHANNELS; c++) levels[c] = row[CHANNELS * x + c];
    return;
  }
  const uint32_t high = row[2 * x + (image->format == PREPROCESS_RGB565_LE)];
  const uint32_t low = row[2 * x + (image->format == PREPROCESS_RGB565_BE)];
  const uint32_t bits = high << 8 | low;
  const uint32_t red = bits >> 11, green = bits >> 5 & 63, blue = bits & 31;
  /* The highest bits once more below the others, so that the brightest is 255. */
  levels[0] = red << 3 | red >> 2;
  levels[1] = green << 2 | green >> 4;
  levels[2] = blue << 3 | blue >> 2;
}

/* One pixel: along each row first, rounded, and then along the column. */
static void resize_pixel(const PreprocessImage *image, const Axis *x_axis, const Axis *y_axis, int32_t x,
                         int32_t y, uint32_t levels[CHANNELS]) {
  const Window columns = window_at(x_axis, x), rows = window_at(y_axis, y);
  uint32_t sums[CHANNELS] = {0, 0, 0}, weights = 0;
  for (int32_t j = rows.first; j < rows.end; j++) {
    uint32_t row_sums[CHANNELS] = {0, 0, 0}, row_weights = 0;
    const uint32_t weight = weight_of(&rows, j);
    for (int32_t i = columns.first; i < columns.end; i++) {
      uint32_t pixel[CHANNELS];
      const uint32_t row_weight = weight_of(&columns, i);
      read_pixel(image, x_axis->first + i, y_axis->first + j, pixel);
      for (int c = 0; c < CHANNELS; c++) row_sums[c] += row_weight * pixel[c];
      row_weights += row_weight;
    }
    for (int c = 0; c < CHANNELS; c++) sums[c] += weight * rounded(row_sums[c], row_weights);
    weights += weight;
  }
  for (int c = 0; c < CHANNELS; c++) levels[c] = rounded(sums[c], weights);
}

/* What of one axis is seen, and how many pixels that becomes. */
static Axis cut(const PreprocessInput *how, int32_t extent, int32_t shorter, int32_t longer) {
  Axis axis = {0, extent, how->side};
  if (how->resize == PREPROCESS_CROP) {
    axis.from = (2 * shorter * how->crop_numerator + how->crop_denominator) / (2 * how->crop_denominator);
    if (axis.from < 1) axis.from = 1;
    axis.first = (extent - axis.from) / 2;
  } else if (how->resize == PREPROCESS_PAD) {
    axis.to = (2 * how->side * extent + longer) / (2 * longer);
    if (axis.to < 1) axis.to = 1;
  }
  return axis;
}

static int is_within(int32_t number, int32_t least, int32_t most) {
  return least <= number && number <= most;
}

static int are_valid(const PreprocessImage *image, const PreprocessInput *how) {
  const int32_t pixel_bytes = image->format == PREPROCESS_RGB888 ? 3 : 2;
  return is_within(image->width, 1, PREPROCESS_MAX_IMAGE) && is_within(image->height, 1, PREPROCESS_MAX_IMAGE) &&
         image->row_bytes >= pixel_bytes * image->width &&
         is_within(how->side, PREPROCESS_MIN_SIDE, PREPROCESS_MAX_SIDE) &&
         is_within(how->crop_denominator, 1, 10000) && is_within(how->crop_numerator, 1, how->crop_denominator);
}

int preprocess(const PreprocessImage *image, const PreprocessInput *how, void *input) {
  if (!are_valid(image, how)) return -1;
  const int32_t shorter = image->width < image->height ? image->width : image->height;
  const int32_t longer = image->width < image->height ? image->height : image->width;
  const Axis x_axis = cut(how, image->width, shorter, longer);
  const Axis y_axis = cut(how, image->height, shorter, longer);
  const int32_t left = (how->side - x_axis.to) / 2, top = (how->side - y_axis.to) / 2;
  uint8_t *value = (uint8_t *)input;
  for (int32_t y = -top; y < how->side - top; y++) {
    for (int32_t x = -left; x < how->side - left; x++) {
      uint32_t levels[CHANNELS] = {how->border, how->border, how->border};
      if (is_within(y, 0, y_axis.to - 1) && is_within(x, 0, x_axis.to - 1)) {
        resize_pixel(image, &x_axis, &y_axis, x, y, levels);
      }
      for (int c = 0; c < CHANNELS; c++) *value++ = (uint8_t)((int32_t)levels[c] + how->zero_point);
    }
  }
  return 0;
}
