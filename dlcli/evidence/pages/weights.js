// The page of `dl mc-estimate --html`: samples of the prior one by one, for all images together.

import { axesOf, drawScale, insideOf, shortNumber, ticks } from "../../display/pages/chart.js";
import {
  addressState,
  byId,
  bytesOf,
  colour,
  data,
  element,
  keepState,
  onColours,
  onState,
} from "../../display/pages/page.js";

const PACE = 40; // milliseconds from one stop to the next

const images = data().images.map((given, i) => {
  const section = document.querySelectorAll(".image")[i];
  return {
    ...given,
    weights: new Float32Array(bytesOf(given.weights).buffer), // relative to the largest, logarithms
    canvases: [section.querySelector(".weights"), section.querySelector(".path")],
    rows: section.querySelector("tbody"),
  };
});
const stops = Math.max(...images.map((image) => image.stops.length));
const slider = byId("samples");
slider.max = stops - 1;
let at = stops - 1;
let playing = null;

const stopOf = (image) => image.stops[Math.min(at, image.stops.length - 1)];

/** Each sample's share of the sum, so far. */
function drawWeights(image) {
  const { samples, verdict } = stopOf(image);
  const drawn = image.weights.subarray(0, samples);
  const most = drawn.reduce((a, b) => Math.max(a, b), -Infinity);
  const shares = Array.from(drawn, (one) => (Number.isFinite(most) ? Math.exp(one - most) : 0));
  const sum = shares.reduce((a, b) => a + b, 0) || 1;
  const top = Math.max(0, ...shares.map((one) => one / sum));
  const scale = top > 0.5 ? 1 : 1.15 * top || 1;
  const axes = axesOf(image.canvases[0], [0, samples], [0, scale]);
  drawScale(axes, {
    across: ticks(0, samples, 4)
      .filter(Number.isInteger)
      .map((one) => [one, shortNumber(one)]),
    up: ticks(0, scale, 3).map((one) => [one, `${shortNumber(100 * one)}%`]),
  });
  axes.drawing.fillStyle = colour(verdict === "reject" ? "series-1" : "series-0");
  const width = Math.max(1.5, axes.x(1) - axes.x(0) - 1);
  shares.forEach((one, i) => {
    const place = axes.y(one / sum);
    axes.drawing.fillRect(axes.x(i), place, width, axes.y(0) - place);
  });
  image.canvases[0].setAttribute(
    "aria-label",
    `Share of each of ${stopOf(image).shown}: the largest has ${stopOf(image).words["largest weight"]}`,
  );
}

/** The estimate and its interval at every stop so far, and the truth. */
function drawPath(image) {
  const all = image.stops;
  const known = all.flatMap(({ log_p }) => (Number.isFinite(log_p) ? [log_p] : []));
  const ends = [...known.slice(Math.floor(known.length / 8)), ...(image.truth === null ? [] : [image.truth])];
  const [low, high] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [-1, 0];
  const room = 0.12 * (high - low) || 1;
  const range = [low - room, high + room];
  const logs = [0, Math.max(1, Math.log10(all.at(-1).samples))];
  const axes = axesOf(image.canvases[1], logs, range);
  const { drawing, x, y, left, right } = axes;
  drawScale(axes, {
    across: Array.from({ length: Math.floor(logs[1]) + 1 }, (_, i) => [i, shortNumber(10 ** i)]),
    up: ticks(...range, 4).map((one) => [one, shortNumber(one)]),
  });
  drawing.save();
  insideOf(axes);
  const shown = all.slice(0, at + 1).filter(({ log_p }) => Number.isFinite(log_p));
  const place = (one) => x(Math.log10(one.samples));
  const inside = (value) => Math.max(-1e4, Math.min(1e4, y(value))); // an end may be infinite
  drawing.fillStyle = colour("series-0");
  drawing.globalAlpha = 0.18;
  drawing.beginPath();
  for (const one of shown) drawing.lineTo(place(one), inside(one.high ?? Infinity));
  for (const one of shown.toReversed()) drawing.lineTo(place(one), inside(one.low ?? -Infinity));
  drawing.fill();
  drawing.globalAlpha = 1;
  drawing.strokeStyle = colour("series-0");
  drawing.lineWidth = 2;
  drawing.beginPath();
  for (const one of shown) drawing.lineTo(place(one), y(one.log_p));
  drawing.stroke();
  if (shown.length) {
    drawing.fillStyle = colour("series-0");
    drawing.beginPath();
    drawing.arc(place(shown.at(-1)), y(shown.at(-1).log_p), 4, 0, 2 * Math.PI);
    drawing.fill();
  }
  if (image.truth !== null) {
    drawing.strokeStyle = drawing.fillStyle = colour("accent");
    drawing.setLineDash([6, 4]);
    drawing.beginPath();
    drawing.moveTo(left, y(image.truth));
    drawing.lineTo(right, y(image.truth));
    drawing.stroke();
    drawing.textAlign = "left";
    drawing.fillText("truth", left + 4, y(image.truth) - 5);
  }
  drawing.restore();
  image.canvases[1].setAttribute("aria-label", `After ${stopOf(image).shown}: log p̂(x) ${stopOf(image).words["log p̂(x)"]}`);
}

function show() {
  slider.value = at;
  const most = images.reduce((a, b) => (a.stops.length < b.stops.length ? b : a));
  byId("count").textContent = stopOf(most).shown;
  slider.setAttribute("aria-valuetext", stopOf(most).shown);
  for (const image of images) {
    drawWeights(image);
    drawPath(image);
    image.rows.replaceChildren(
      ...Object.entries(stopOf(image).words).map(([name, value]) =>
        element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)),
      ),
    );
  }
}

function goTo(stop, { step = false } = {}) {
  at = Math.min(stops - 1, Math.max(0, Math.round(stop)));
  show();
  keepState({ stop: at }, { step });
}

function play(isPlaying) {
  clearInterval(playing);
  playing = isPlaying ? setInterval(() => (at < stops - 1 ? goTo(at + 1) : play(false)), PACE) : null;
  byId("play").setAttribute("aria-pressed", String(isPlaying));
  byId("play").textContent = isPlaying ? "Pause" : "Draw samples";
}

byId("play").addEventListener("click", () => {
  if (playing) return play(false);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return goTo(stops - 1, { step: true });
  if (at === stops - 1) goTo(0);
  play(true);
});
byId("again").addEventListener("click", () => {
  play(false);
  goTo(0, { step: true });
});
slider.addEventListener("input", () => {
  play(false);
  goTo(Number(slider.value));
});

function restore() {
  const stop = Number(addressState().stop ?? stops - 1);
  at = stop >= 0 && stop < stops ? Math.floor(stop) : stops - 1;
  show();
}

/** For the console. */
globalThis.dl = { images, goTo };

restore();
performance.mark("first picture");
onState(restore);
onColours(show);
new ResizeObserver(show).observe(byId("images"));
