// The network answers in this browser, once it has answered its golden vectors as it must.
import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";
import { decode, encode, fit, probabilities } from "./contract.js";

const MODEL = "model.tflite";
const SHOWN = 5; // classes, at most
const RUNS = 5; // how often it is timed for an image
const PIXEL_LEVELS = 1; // that resizing may be off
// That a score may be off: of a ResNet18, LiteRT's own optimised kernels are up to 5 off its reference ones.
const SCORE_LEVELS = 8;

const read = async (name) => {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`the folder must be whole; ${name} is missing`);
  return response;
};
const bytesOf = async (name) => new Uint8Array(await (await read(name)).arrayBuffer());

async function load() {
  const [preprocessing, labels, content] = await Promise.all([
    read("preprocessing.json").then((response) => response.json()),
    read("labels.txt").then((response) => response.text()),
    bytesOf(MODEL),
  ]);
  await loadLiteRt("./litert/");
  const model = await loadAndCompile(content, { accelerator: "wasm" });
  const { input, output } = preprocessing.models[MODEL];
  const network = { image: preprocessing.image, labels: labels.trimEnd().split("\n"), model, input, output };
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
  const [golden, large] = await Promise.all(
    ["golden/golden.json", "golden/large.json"].map(async (name) => (await read(name)).json()),
  );
  const pixels = await see(network, await (await read(`golden/${large.image}`)).blob());
  hold("pixels", farthest(pixels, await bytesOf(`golden/${large.pixels.file}`)), PIXEL_LEVELS);
  let off = 0;
  for (const { input, output } of golden.vectors) {
    const scores = await run(network, await bytesOf(`golden/${input.file}`));
    off = Math.max(off, farthest(scores, await bytesOf(`golden/${output.file}`)));
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

const loaded = load();
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
