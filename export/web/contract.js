// What preprocessing.json says, step by step: decode -> fit -> encode -> (the network) -> probabilities.
// All but decode is arithmetic alone, the same as run.py's, and runs wherever JavaScript does.

// Decode an image file to { data: RGBA bytes, width, height }, transparent pixels over white.
export async function decode(file, exifOrientation) {
  const readable = exifOrientation ? file : new Blob([withoutOrientation(new Uint8Array(await file.arrayBuffer()))]);
  let bitmap;
  try {
    // As the pixels are stored: a colour profile was not looked at in training either.
    bitmap = await createImageBitmap(readable, { colorSpaceConversion: "none" });
  } catch {
    throw new Error("an image must be whole, and of a format that this browser decodes; SVG and TIFF are not");
  }
  const { width, height } = bitmap;
  const image = overWhite(bitmap);
  bitmap.close();
  // Beyond the largest canvas that it has, a browser draws nothing and tells nobody.
  if (image?.data.at(-1) !== 255) {
    throw new Error(`an image must be one that this browser can draw; received ${width} x ${height} pixels`);
  }
  return image;
}

function overWhite(bitmap) {
  const { width, height } = bitmap;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  try {
    return context.getImageData(0, 0, width, height);
  } catch {
    return null; // more than there is memory for
  }
}

// Blank the EXIF data of a JPEG, by which browsers turn it; anything else stays as it is.
export function withoutOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let place = 2; place + 4 <= bytes.length && bytes[0] === 0xff && bytes[1] === 0xd8; ) {
    const marker = view.getUint16(place);
    if (marker < 0xffc0 || marker === 0xffda) break; // no marker, or where the pixels begin
    if (marker === 0xffe1) bytes.fill(0, place + 4, place + 10); // "Exif\0\0"
    place += 2 + view.getUint16(place + 2);
  }
  return bytes;
}

// Make an image what the network sees: RGB bytes, rows from the top.
export function fit({ data, width, height }, size, { resize, crop_share: share, border }) {
  const rgb = new Uint8Array(3 * width * height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++) rgb[3 * pixel + channel] = data[4 * pixel + channel];
  }
  const whole = { rgb, width, height };
  if (resize === "squash") return resample(whole, size, size).rgb;
  if (resize === "crop") {
    const side = Math.max(Math.floor(Math.min(width, height) * share + 0.5), 1);
    const square = cut(whole, Math.floor((width - side) / 2), Math.floor((height - side) / 2), side);
    return resample(square, size, size).rgb;
  }
  const longer = Math.max(width, height);
  const shrunk = (extent) => Math.max(Math.floor((2 * size * extent + longer) / (2 * longer)), 1);
  return pad(resample(whole, shrunk(width), shrunk(height)), size, border);
}

function cut({ rgb, width }, left, top, side) {
  const square = new Uint8Array(3 * side * side);
  for (let row = 0; row < side; row++) {
    const start = 3 * ((top + row) * width + left);
    square.set(rgb.subarray(start, start + 3 * side), 3 * row * side);
  }
  return { rgb: square, width: side, height: side };
}

function pad({ rgb, width, height }, size, border) {
  const square = new Uint8Array(3 * size * size).fill(border);
  const [left, top] = [Math.floor((size - width) / 2), Math.floor((size - height) / 2)];
  for (let row = 0; row < height; row++) {
    square.set(rgb.subarray(3 * row * width, 3 * (row + 1) * width), 3 * ((top + row) * size + left));
  }
  return square;
}

// Resize as Pillow does: the triangle kernel, widened when shrinking, along rows and then along columns, in integers
// of 22 binary places, rounded to a byte after each. Where Pillow takes the columns first it is up to a level off.
export function resample(image, width, height) {
  return alongColumns(alongRows(image, width), height);
}

function alongRows({ rgb, width, height }, size) {
  if (size === width) return { rgb, width, height };
  const out = new Uint8Array(3 * size * height);
  weights(width, size).forEach(({ first, kernel }, x) => {
    for (let y = 0; y < height; y++) {
      for (let channel = 0; channel < 3; channel++) {
        const start = 3 * (y * width + first) + channel;
        out[3 * (y * size + x) + channel] = weighted(rgb, start, 3, kernel);
      }
    }
  });
  return { rgb: out, width: size, height };
}

function alongColumns({ rgb, width, height }, size) {
  if (size === height) return { rgb, width, height };
  const out = new Uint8Array(3 * width * size);
  weights(height, size).forEach(({ first, kernel }, y) => {
    for (let column = 0; column < 3 * width; column++) {
      out[3 * width * y + column] = weighted(rgb, 3 * width * first + column, 3 * width, kernel);
    }
  });
  return { rgb: out, width, height: size };
}

function weighted(bytes, start, stride, kernel) {
  let sum = 2 ** 21; // half a byte's last place
  for (let index = 0; index < kernel.length; index++) sum += bytes[start + stride * index] * kernel[index];
  return Math.min(sum >> 22, 255);
}

// For each of `size` places along an axis of `extent` pixels: the first that counts, and the weights from there on.
function weights(extent, size) {
  const scale = extent / size;
  const reach = Math.max(scale, 1);
  return Array.from({ length: size }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), extent);
    const kernel = [];
    for (let pixel = first; pixel < end; pixel++) {
      kernel.push(Math.max(1 - Math.abs((pixel - centre + 0.5) * (1 / reach)), 0));
    }
    const sum = kernel.reduce((total, weight) => total + weight, 0);
    return { first, kernel: kernel.map((weight) => Math.trunc((weight / sum) * 2 ** 22 + 0.5)) };
  });
}

// Turn pixels into what the input takes: uint8 as round(pixel / scale) + zero_point, float32 as they are.
export function encode(pixels, { dtype, scale, zero_point: zeroPoint }) {
  if (dtype === "float32") return Float32Array.from(pixels);
  const levels = Uint8ClampedArray.from(pixels, (pixel) => Math.round(pixel / scale) + zeroPoint);
  return new Uint8Array(levels.buffer);
}

// Turn what the output gives into probabilities.
export function probabilities(values, { scores, scale, zero_point: zeroPoint }) {
  const real = Array.from(values, (value) => (scale === null ? value : (value - zeroPoint) * scale));
  if (scores === "probabilities") return real;
  const most = Math.max(...real);
  const powers = real.map((score) => Math.exp(score - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
