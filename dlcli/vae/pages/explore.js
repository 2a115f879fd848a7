// The page of `dl vae explore`: one latent z at a time, which everything on the page sets or shows.

import {
  addressState,
  byId,
  bytesOf,
  data,
  element,
  keepState,
  onState,
} from "../../display/pages/page.js";
import { boardOf } from "./board.js";
import { between, bounds, klOf, normals } from "./latents.js";
import { likelihoodOf } from "./likelihood.js";
import { mapOf } from "./map.js";
import { floatsOf, networksOf } from "./networks.js";

const DRAWS = 64; // of q(z|x), for the bounds of a drawn image
const SHOWN = 12; // latents at most that are not folded away
const LISTED = 100; // latents at most that have a slider, the first of them
const STRIP = 9; // pictures on the way between two
const BUDGET = 10; // milliseconds of computing between two frames

const given = data();
const [H, W, C] = given.shape;
const D = given.latent_dim;
const networks = networksOf(given);
const likelihood = likelihoodOf(given.likelihood);
const mean = (z) => likelihood.mean(networks.decode(z));
const tests = given.tests && {
  ...given.tests,
  z: Array.from({ length: given.tests.count }, () => null),
};
if (tests) {
  const numbers = floatsOf(given.tests.z);
  tests.z = tests.z.map((_, i) => Array.from(numbers.subarray(i * D, (i + 1) * D)));
}

// What the page shows. Ends of the way are latents; `image` is the test image that one is of.
const state = {
  z: given.start,
  from: tests ? { z: tests.z[0], image: 0 } : { z: draw(1, 1) },
  to: tests?.count > 1 ? { z: tests.z[1], image: 1 } : { z: draw(2, 1) },
  position: 0,
  kept: [],
  board: "", // as the address has it
};

function draw(seed, temperature) {
  const normal = normals(seed);
  return Array.from({ length: D }, () => temperature * normal());
}

/** Paint an image, channels last, on a canvas of as many pixels. */
function paint(canvas, image) {
  if (canvas.width !== W || canvas.height !== H) [canvas.width, canvas.height] = [W, H];
  const pixels = new ImageData(W, H);
  for (let i = 0; i < H * W; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = 255 * image[i * C + (C === 3 ? c : 0)];
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// Latents, and the picture of them.

const order = given.weights
  .map((_, d) => d)
  .sort((a, b) => given.weights[b] - given.weights[a])
  .slice(0, LISTED);
const matters = order.filter(
  (d) => given.weights[d] > (given.is_kl ? 0.1 : 0.01 * given.weights[order[0]]),
);
const shownFirst = order.slice(0, Math.max(1, Math.min(SHOWN, matters.length)));
const sliders = new Map();

function makeSliders() {
  const rest = byId("rest");
  for (const d of order) {
    const input = element("input", { type: "range", min: "-4", max: "4", step: "0.01" });
    const value = element("output");
    const weight = given.weights[d];
    const share = `${((100 * weight) / (given.weights[order[0]] || 1)).toFixed(0)}%`;
    const name = element(
      "span",
      {},
      `z[${d}] `,
      element("small", {}, given.is_kl ? weight.toFixed(1) : share),
    );
    const label = element("label", {}, name, input, value);
    input.addEventListener("input", () => {
      const z = Array.from(state.z);
      z[d] = Number(input.value);
      setLatents(z);
    });
    sliders.set(d, { input, value });
    const isFirst = shownFirst.includes(d);
    (isFirst ? byId("sliders") : rest.querySelector(".sliders")).append(label);
  }
  const folded = order.length - shownFirst.length;
  rest.hidden = !folded;
  rest.querySelector("summary").textContent =
    `The ${order.length < D ? "next" : "other"} ${folded} latents`;
  byId("order").textContent = given.is_kl
    ? "Small number: KL in nats, averaged over test images. A latent without KL says nothing."
    : "Small number: how much a latent changes a picture, of what the first one does.";
}

let isWaiting = false;

/** Show other latents; `step` makes them an entry of the browser's history. */
function setLatents(z, { step = false } = {}) {
  state.z = z;
  remember({ step });
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    showLatents();
  });
}

function showLatents() {
  paint(byId("picture"), mean(state.z));
  map?.show(state.z);
  for (const [d, { input, value }] of sliders) {
    input.value = state.z[d];
    value.textContent = state.z[d].toFixed(2).replace("-", "−");
  }
}

byId("sample").addEventListener("click", () => {
  const seed = Number(byId("seed").value) + 1;
  byId("seed").value = seed;
  sampleOf(seed);
});
byId("seed").addEventListener("change", (event) => sampleOf(Number(event.target.value)));
byId("temperature").addEventListener("input", (event) => {
  byId("temperature-value").textContent = Number(event.target.value).toFixed(2);
  sampleOf(Number(byId("seed").value), { step: false });
});

function sampleOf(seed, { step = true } = {}) {
  setLatents(draw(seed, Number(byId("temperature").value)), { step });
}

// The map.

const hover = byId("hover");

function pointAt(number, place) {
  if (hover.hidden !== (number === null)) hover.hidden = number === null;
  if (number === null) return;
  paintTest(hover.querySelector("canvas"), number);
  const label = tests.labels ? `, class ${tests.labels[number]}` : "";
  hover.querySelector("span").textContent = `test image ${number}${label}`;
  const right = place[0] > byId("map").clientWidth / 2;
  hover.style.left = `${place[0] + (right ? -120 : 16)}px`;
  hover.style.top = `${Math.max(0, place[1] - 60)}px`;
}

function makeMap() {
  const latents = order.map((d) => ({
    key: `${d}`,
    name: `z[${d}]`,
    direction: Array.from({ length: D }, (_, other) => Number(other === d)),
  }));
  const principal = (tests?.principal ?? []).map((direction, i) => ({
    key: `p${i + 1}`,
    name: `component ${i + 1}`,
    direction,
  }));
  return mapOf(byId("map"), {
    axes: [...principal, ...latents],
    points: tests ? tests.z.map((z, i) => ({ z, label: tests.labels?.[i] })) : [],
    selects: [byId("axis-x"), byId("axis-y")],
    move: setLatents,
    point: pointAt,
  });
}

// Test images, of which the page has one large picture.

const sheet = new Image();

function placeOnSheet(number) {
  const columns = Math.ceil(Math.sqrt(tests.count));
  const [height, width] = tests.tile;
  return [(number % columns) * width, Math.floor(number / columns) * height, width, height];
}

function paintTest(canvas, number) {
  const [left, top, width, height] = placeOnSheet(number);
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").drawImage(sheet, left, top, width, height, 0, 0, width, height);
}

/** The middle of a picture, at the size of the model's images. */
function pixelsOfPicture(picture) {
  const canvas = element("canvas", { width: W, height: H });
  const scale = Math.max(W / picture.width, H / picture.height);
  const [width, height] = [scale * picture.width, scale * picture.height];
  const drawing = canvas.getContext("2d");
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(picture, (W - width) / 2, (H - height) / 2, width, height);
  return pixelsOf(canvas);
}

function pixelsOfTest(number) {
  const canvas = document.createElement("canvas");
  paintTest(canvas, number);
  return pixelsOf(canvas);
}

/** The pixels of a canvas in [0, 1], channels last; grey is the luma of ITU-R 601. */
function pixelsOf(canvas) {
  const bytes = canvas.getContext("2d").getImageData(0, 0, W, H).data;
  const value = (place, c) => bytes[4 * place + c] / 255;
  const grey = (place) =>
    0.299 * value(place, 0) + 0.587 * value(place, 1) + 0.114 * value(place, 2);
  return Float32Array.from({ length: H * W * C }, (_, i) =>
    C === 1 ? grey(i) : value(Math.floor(i / C), i % C),
  );
}

// The way between two pictures.

const strip = Array.from({ length: STRIP }, (_, i) => {
  const canvas = element("canvas");
  const words = { class: "tile", "aria-label": `Position ${(i / (STRIP - 1)).toFixed(2)}` };
  const button = element("button", words, canvas);
  button.addEventListener("click", () => goTo(i / (STRIP - 1), { step: true }));
  byId("strip").append(element("li", {}, button));
  return { canvas, button };
});

function goTo(position, { step = false } = {}) {
  state.position = position;
  showPosition();
  setLatents(Array.from(between(state.from.z, state.to.z, position)), { step });
}

function showPosition() {
  byId("position").value = state.position;
  byId("position-value").textContent = state.position.toFixed(2);
  const near = Math.round(state.position * (STRIP - 1));
  strip.forEach(({ button }, i) => button.setAttribute("aria-current", String(i === near)));
}

let wayShown = 0;

/** Paint both ends and the way, a few pictures a frame. */
function showWay() {
  const turn = ++wayShown;
  showPosition();
  for (const name of ["from", "to"]) {
    paint(byId(name), mean(state[name].z));
    const input = byId(`${name}-image`);
    if (input) input.value = state[name].image ?? "";
  }
  const left = strip.map(({ canvas }, i) => [canvas, i / (STRIP - 1)]);
  const next = () => {
    const began = performance.now();
    while (turn === wayShown && left.length && performance.now() - began < BUDGET) {
      const [canvas, t] = left.shift();
      paint(canvas, mean(between(state.from.z, state.to.z, t)));
    }
    if (turn === wayShown && left.length) requestAnimationFrame(next);
  };
  next();
}

function setEnd(name, end) {
  state[name] = end;
  showWay();
  remember({ step: true });
}

for (const name of ["from", "to"]) {
  byId(`set-${name}`).addEventListener("click", () => setEnd(name, { z: state.z }));
  byId(`${name}-image`)?.addEventListener("change", (event) => {
    const image = numberOfTest(event.target.value);
    if (image !== null) setEnd(name, { z: tests.z[image], image });
  });
}
byId("position").addEventListener("input", (event) => goTo(Number(event.target.value)));

function numberOfTest(text) {
  const number = /^\d+$/.test(text ?? "") ? Number(text) : -1;
  return tests && number >= 0 && number < tests.count ? number : null;
}

// An image of one's own.

const board = boardOf(byId("board"), {
  shape: given.shape,
  paint,
  changed(image, { step }) {
    analyse(image);
    if (!step) return;
    state.board = textOfImage(image);
    remember({ step });
  },
});
const posteriorRows = order.slice(0, 2 * SHOWN).map((d) => {
  const [span, dot, kl] = [
    element("i", { class: "span" }),
    element("i", { class: "dot" }),
    element("b"),
  ];
  const track = element("div", { class: "track" }, span, dot);
  byId("posterior").append(
    element("li", {}, element("span", {}, `${given.flow ? "v" : "z"}[${d}]`), track, kl),
  );
  return { d, span, dot, kl };
});
const DIGITS = { minimumFractionDigits: 1, maximumFractionDigits: 1 };
const nats = (value) => value.toLocaleString("en", DIGITS).replace("-", "−");
let analysis = 0;
let encoded = null;

/** Show what the networks make of an image: at once its posterior, then ever better bounds. */
function analyse(image) {
  const turn = ++analysis;
  const black = image.map((one) => Number(one > 0.5));
  const isBernoulli = given.likelihood.name === "bernoulli";
  const bytes = image.map((one) => Math.round(255 * one) / 255);
  const seen = given.sees === "grey" ? bytes : black;
  const posterior = (encoded = networks.encode(seen));
  paint(byId("reconstruction"), likelihood.mean(networks.decodeEncoded(posterior.mean)));
  showPosterior(posterior);
  const drawn = boundsOf(seen, isBernoulli ? black : bytes);
  const next = () => {
    const began = performance.now();
    let found;
    do found = drawn.next().value;
    while (found.k < DRAWS && performance.now() - began < BUDGET);
    showBounds(found);
    if (found.k < DRAWS) requestAnimationFrame(() => turn === analysis && next());
  };
  next();
}

/** Bounds of log p(image) for what the encoder sees of it, better with every draw. */
function boundsOf(seen, image, seed = 0) {
  const posterior = networks.encode(seen);
  return bounds({ networks, likelihood, posterior, image, seed, hasFlow: Boolean(given.flow) });
}

function showPosterior(posterior) {
  const kl = klOf(posterior);
  const percent = (value) => 12.5 * (Math.min(4, Math.max(-4, value)) + 4);
  for (const row of posteriorRows) {
    const [middle, spread] = [posterior.mean[row.d], Math.exp(posterior.logvar[row.d] / 2)];
    row.span.style.left = `${percent(middle - spread)}%`;
    row.span.style.right = `${100 - percent(middle + spread)}%`;
    row.dot.style.left = `${percent(middle)}%`;
    row.kl.textContent = given.flow ? "" : kl[row.d].toFixed(1);
  }
}

function showBounds({ k, reconstruction, kl, elbo, iwae }) {
  byId("reconstruction-value").textContent = nats(reconstruction);
  byId("kl-value").textContent = nats(kl);
  byId("elbo-value").textContent = nats(-elbo);
  byId("iwae-value").textContent = nats(-iwae);
  byId("gap-value").textContent = nats(iwae - elbo);
  byId("draws").textContent = `${k} ${k === 1 ? "draw" : "draws"}`;
  const whole = Math.max(0, reconstruction) + Math.max(0, kl) || 1;
  byId("bar-reconstruction").style.width = `${(100 * Math.max(0, reconstruction)) / whole}%`;
  byId("bar-kl").style.width = `${(100 * Math.max(0, kl)) / whole}%`;
  byId("bar-iwae").style.left = `${Math.min(100, Math.max(0, (100 * -iwae) / whole))}%`;
  if (k === DRAWS)
    byId("spoken").textContent = `−ELBO ${nats(-elbo)} nats, −log p(x) at most ${nats(-iwae)} nats`;
}

for (const name of ["clear", "undo", "centre"]) byId(name).addEventListener("click", board[name]);
for (const name of ["paint", "erase"])
  byId(name).addEventListener("click", () => {
    board.erase(name === "erase");
    for (const one of ["paint", "erase"])
      byId(one).setAttribute("aria-pressed", String(one === name));
  });
const ink = byId("ink"); // of colour images
const takeInk = () =>
  board.inkOf(ink.value.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16) / 255));
ink?.addEventListener("input", takeInk);
if (ink) takeInk();
byId("board-image")?.addEventListener("change", (event) => {
  const number = numberOfTest(event.target.value);
  if (number === null) return;
  board.set(pixelsOfTest(number));
  state.board = `t${number}`; // exactly, where a drawing is rounded
  remember();
});
byId("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  const picture = file && (await createImageBitmap(file).catch(() => null));
  byId("file-problem").textContent =
    file && !picture ? `The browser cannot read ${file.name} as a picture.` : "";
  if (picture) board.set(pixelsOfPicture(picture));
});
byId("use").addEventListener("click", () =>
  setLatents(Array.from(networks.latents(encoded.mean).z), { step: true }),
);

// Kept pictures.

byId("keep").addEventListener("click", () => keep([...state.kept, state.z]));

function keep(kept) {
  state.kept = kept;
  showKept();
  remember({ step: true });
}

function showKept() {
  byId("kept").replaceChildren(
    ...state.kept.map((z, i) => {
      const canvas = element("canvas");
      paint(canvas, mean(z));
      const tile = element(
        "button",
        { class: "tile", "aria-label": `Kept picture ${i + 1}` },
        canvas,
      );
      tile.addEventListener("click", () => setLatents(z, { step: true }));
      const remove = element(
        "button",
        { class: "remove", "aria-label": `Remove picture ${i + 1}` },
        "×",
      );
      remove.addEventListener("click", () => keep(state.kept.filter((_, other) => other !== i)));
      return element("li", {}, tile, remove);
    }),
  );
}

// The address: latents as numbers with commas; a test image is t and its number; a small grey drawing
// has 16 levels, two pixels a byte, in base64 for addresses.

const MOST_PIXELS = 1024;

function textOfImage(image) {
  if (image.length > MOST_PIXELS) return "";
  const level = (i) => Math.round(15 * (image[i] ?? 0));
  const bytes = Uint8Array.from(
    { length: Math.ceil(image.length / 2) },
    (_, i) => 16 * level(2 * i) + level(2 * i + 1),
  );
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function imageOf(text) {
  const number = text?.startsWith("t") ? numberOfTest(text.slice(1)) : null;
  if (number !== null) return tests.whole ? pixelsOfTest(number) : null;
  const length = Math.ceil((4 * Math.ceil((H * W * C) / 2)) / 3);
  if (text?.length !== length || !/^[\w-]+$/.test(text)) return null;
  const bytes = bytesOf(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Float32Array.from(
    { length: H * W * C },
    (_, i) => (i % 2 ? bytes[i >> 1] & 15 : bytes[i >> 1] >> 4) / 15,
  );
}

const textOf = (z) => Array.from(z, (one) => Number(one.toFixed(3))).join();
const textOfEnd = ({ z, image }) => (image === undefined ? textOf(z) : `t${image}`);

function latentsOf(text) {
  const z = text?.split(",").map(Number);
  return z?.length === D && z.every((one) => Number.isFinite(one) && Math.abs(one) < 1e4)
    ? z
    : null;
}

function endOf(text) {
  const image = text?.startsWith("t") ? numberOfTest(text.slice(1)) : null;
  if (image !== null) return { z: tests.z[image], image };
  const z = latentsOf(text);
  return z && { z };
}

function remember(options) {
  const [x, y] = map?.axes ?? [];
  const found = {
    z: textOf(state.z),
    ...(map && { x, y }),
    seed: byId("seed").value,
    temperature: byId("temperature").value,
    from: textOfEnd(state.from),
    to: textOfEnd(state.to),
    position: state.position,
    ...(state.board && { board: state.board }),
    ...(state.kept.length && { kept: state.kept.map(textOf).join("_") }),
  };
  keepState(found, options);
}

function restore() {
  const found = addressState();
  state.z = latentsOf(found.z) ?? state.z;
  state.from = endOf(found.from) ?? state.from;
  state.to = endOf(found.to) ?? state.to;
  const position = Number(found.position);
  state.position = position >= 0 && position <= 1 ? position : 0;
  state.kept = (found.kept ?? "").split("_").map(latentsOf).filter(Boolean);
  for (const name of ["seed", "temperature"]) {
    const number = Number.parseFloat(found[name]);
    if (number >= 0) byId(name).value = number;
  }
  byId("temperature-value").textContent = Number(byId("temperature").value).toFixed(2);
  map?.choose([found.x, found.y]);
  showLatents();
  showWay();
  showKept();
}

function restoreBoard() {
  state.board = addressState().board ?? (tests ? "t0" : "");
  const image = imageOf(state.board);
  if (image) board.show(image);
  else if (!board.image.some(Boolean)) board.show(board.image);
}

/** For the console: the network on arrays. */
globalThis.dl = { ...networks, mean: likelihood.mean, bounds: boundsOf, normals };

makeSliders();
const map = byId("map") && makeMap();
restore();
performance.mark("first picture");
if (tests) {
  sheet.src = URL.createObjectURL(new Blob([bytesOf(tests.sheet)], { type: "image/png" }));
  await sheet.decode();
}
restoreBoard();
onState(() => {
  restore();
  restoreBoard();
});
