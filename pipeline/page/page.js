// Takes images, one after another, and shows what ask.js answers.
import { ask, loaded } from "./ask.js";

const LARGEST_ENLARGED = 96; // pixels a side up to which an image is shown pixel by pixel, as in a report
const PAUSE = 200; // milliseconds from a camera's answer to its next image
const CAMERA_PROBLEMS = {
  NotAllowedError: "The camera was not allowed. The browser's address bar lets you allow it.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is in use by another program.",
};

const byId = (id) => document.getElementById(id);
const copyOf = (id) => byId(id).content.firstElementChild.cloneNode(true);
const percent = (share) => `${(100 * share).toFixed(2)} %`;
const notice = (text) => {
  byId("notice").className = "";
  byId("notice").textContent = text;
};
const say = (text) => {
  // A camera's answers are said where they change.
  if (byId("status").textContent !== text) byId("status").textContent = text;
};

function build(id, texts) {
  const built = copyOf(id);
  for (const [selector, text] of Object.entries(texts)) built.querySelector(selector).textContent = text;
  return built;
}

function buildImage(address, description, image = new Image()) {
  image.addEventListener("load", () => {
    image.classList.toggle("enlarged", Math.max(image.naturalWidth, image.naturalHeight) <= LARGEST_ENLARGED);
  });
  image.addEventListener("error", () => image.remove());
  image.alt = description;
  image.src = address;
  return image;
}

function buildView(address, caption) {
  const view = build("view", { figcaption: caption });
  buildImage(address, caption, view.querySelector("img"));
  return view;
}

function buildNetwork({ name, milliseconds, classes }, place) {
  const network = build("network", { ".name": name, small: `${milliseconds.toFixed(2)} ms` });
  network.classList.add(`series-${place + 1}`);
  network.querySelector("ol").append(...classes.map(({ name, probability }) => {
    const line = build("class", { ".name": name, ".probability": percent(probability) });
    line.querySelector(".bar").style.setProperty("--share", probability);
    return line;
  }));
  return network;
}

function addAnswer(source, shot) {
  const answer = build("answer", { h2: "…", ".source": source });
  answer.querySelector(".shot").append(shot);
  return answer;
}

function fill(answer, { seen, networks }) {
  const [first, ...others] = networks;
  const best = percent(first.classes[0].probability);
  const probability = Object.assign(document.createElement("small"), { textContent: best });
  answer.querySelector("h2").replaceChildren(first.answer, " ", probability);
  const differing = others.filter((network) => network.answer !== first.answer);
  answer.querySelector(".differs").textContent =
    differing.map((network) => `${network.name} answers ${network.answer}`).join(", ");
  answer.querySelector(".networks").replaceChildren(...networks.map(buildNetwork));
  const explained = first.classes.filter(({ evidence }) => evidence);
  answer.querySelector(".views").replaceChildren(
    buildView(seen, "as the network sees it"),
    ...explained.map(({ name, evidence }) => buildView(evidence, `speaks for ${name}`)),
  );
  return [first.answer, ...differing.map((network) => `${network.name}: ${network.answer}`)].join("; ");
}

async function answerInto(answer, image) {
  const source = answer.querySelector(".source").textContent;
  let said;
  try {
    const most = Number(document.body.dataset.maxBytes);
    if (image.size > most) throw new Error(`an image must have at most ${most / 2 ** 20} MiB`);
    said = fill(answer, await ask(image));
  } catch (error) {
    answer.classList.add("problem");
    said = answer.querySelector("h2").textContent = error.message;
  }
  answer.removeAttribute("aria-busy");
  say(`${source}: ${said}`);
}

let waiting = Promise.resolve();

function take(files) {
  notice(files.length ? "" : "Only files can be dropped here.");
  const answers = [...files].map((file) => {
    const address = URL.createObjectURL(file);
    const answer = addAnswer(file.name, buildImage(address, ""));
    waiting = waiting.then(() => answerInto(answer, file));
    return answer;
  });
  byId("answers").prepend(...answers);
}

let camera = null;

function stopCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  byId("camera").textContent = "Use the camera";
}

async function startCamera() {
  notice("");
  byId("camera").disabled = true;
  try {
    if (!isSecureContext) throw new Error("browsers give one to pages of https and of localhost alone");
    if (!navigator.mediaDevices) throw new Error("this browser gives none to pages");
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    notice(CAMERA_PROBLEMS[error.name] ?? `The camera cannot be used: ${error.message}.`);
    return;
  } finally {
    byId("camera").disabled = false;
  }
  const stream = camera;
  byId("camera").textContent = "Stop the camera";
  stream.getTracks().forEach((track) => track.addEventListener("ended", stopCamera));
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, srcObject: stream });
  video.setAttribute("aria-label", "what the camera sees");
  const answer = addAnswer("camera", video);
  byId("answers").prepend(answer);
  await video.play();
  const canvas = document.createElement("canvas");
  while (camera === stream) {
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    const image = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    await answerInto(answer, image);
    if (answer.classList.contains("problem")) stopCamera();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  // What was answered last stays.
  video.replaceWith(buildImage(canvas.toDataURL(), ""));
}

// What would be answered for no image is told before one is chosen.
loaded.then(() => notice(""), (error) => notice(error.message));

byId("choose").addEventListener("click", () => byId("files").click());
byId("files").addEventListener("change", ({ target }) => {
  take(target.files);
  target.value = ""; // so that the same file may be chosen again
});
byId("camera").addEventListener("click", () => (camera ? stopCamera() : startCamera()));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files);
});
