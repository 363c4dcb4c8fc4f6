// The network answers in this browser, once it has answered its golden vectors as it must.
import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";
import { decode, encode, fit, probabilities } from "./contract.js";

const MODEL = "model.tflite";
const SHOWN = 5; // classes, at most
const RUNS = 5; // how often it is timed for an image
const PIXEL_LEVELS = 1; // that resizing may be off
// That a score may be off: of a ResNet18, LiteRT's own optimised kernels are up to 5 off its reference ones.
const SCORE_LEVELS = 8;

const placeOf = (name) => new URL(name, import.meta.url).href; // beside this file, wherever the page is

async function read(name) {
  const response = await fetch(placeOf(name)).catch(() => {
    throw new Error(`${name} cannot be fetched; load the page again`);
  });
  if (!response.ok) throw new Error(`the folder must be whole; ${name} is missing`);
  return response;
}

async function bytesOf(name, length) {
  const bytes = new Uint8Array(await (await read(name)).arrayBuffer());
  if (length !== undefined && bytes.length !== length) {
    throw new Error(`the folder must be whole; ${name} must have ${length} bytes and has ${bytes.length}`);
  }
  return bytes;
}

async function load() {
  const [preprocessing, labels, content] = await Promise.all([
    read("preprocessing.json").then((response) => response.json()),
    read("labels.txt").then((response) => response.text()),
    bytesOf(MODEL),
  ]);
  await loadLiteRt(placeOf("litert/"));
  const model = await loadAndCompile(content, { accelerator: "wasm" }).catch((error) => {
    throw new Error(`${MODEL} must be the file of the export; ${error.message}`);
  });
  const { input, output } = preprocessing.models[MODEL];
  const network = { image: preprocessing.image, labels: labels.trimEnd().split(/\r?\n/), model, input, output };
  await verify(network);
  return network;
}

async function run({ model, input }, values) {
  const tensor = new Tensor(values, [1, input.height, input.width, 3]);
  const [result] = await model.run(tensor);
  const scores = await result.data();
  tensor.delete();
  result.delete();
  return scores;
}

const farthest = (values, others) => values.reduce((most, value, i) => Math.max(most, Math.abs(value - others[i])), 0);

// Hold preprocessing and network to what the export saw them answer.
async function verify(network) {
  const { input: { height, width }, labels } = network;
  const [golden, large] = await Promise.all(
    ["golden/golden.json", "golden/large.json"].map(async (name) => (await read(name)).json()),
  );
  const pixels = await see(network, await (await read(`golden/${large.image}`)).blob());
  hold("pixels", farthest(pixels, await bytesOf(`golden/${large.pixels.file}`, 3 * height * width)), PIXEL_LEVELS);
  let off = 0;
  for (const { input, output } of golden.vectors) {
    const scores = await run(network, await bytesOf(`golden/${input.file}`, 3 * height * width));
    if (labels.length !== scores.length) {
      throw new Error(`the folder must be whole; labels.txt must name ${scores.length} classes and names ${labels.length}`);
    }
    off = Math.max(off, farthest(scores, await bytesOf(`golden/${output.file}`, scores.length)));
  }
  hold("scores", off, SCORE_LEVELS);
}

function hold(what, off, most) {
  document.body.dataset[`${what}Off`] = off;
  if (off > most) throw new Error(`${what} must be within ${most} of the golden vectors' levels here; they are ${off} off`);
}

async function see({ image, input }, file) {
  return fit(await decode(file, image.exif_orientation), input.height, image);
}

function asAddress(pixels, size) {
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const seen = new ImageData(size, size);
  seen.data.fill(255);
  pixels.forEach((value, place) => { seen.data[4 * Math.floor(place / 3) + (place % 3)] = value; });
  canvas.getContext("2d").putImageData(seen, 0, 0);
  return canvas.toDataURL();
}

export const loaded = load();
loaded.catch(() => {}); // told to whoever asks

export async function ask(file) {
  const network = await loaded;
  const pixels = await see(network, file);
  const values = encode(pixels, network.input);
  const times = [];
  let scores;
  for (let count = 0; count < RUNS; count++) {
    const start = performance.now();
    scores = await run(network, values);
    times.push(performance.now() - start);
  }
  const classes = probabilities(scores, network.output)
    .map((probability, label) => ({ name: network.labels[label], probability }))
    .sort((one, other) => other.probability - one.probability);
  const milliseconds = times.sort((one, other) => one - other)[Math.floor(RUNS / 2)];
  const answer = { name: "int8", answer: classes[0].name, milliseconds, classes: classes.slice(0, SHOWN) };
  return { seen: asAddress(pixels, network.input.height), networks: [answer] };
}
