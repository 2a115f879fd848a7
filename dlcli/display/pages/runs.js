// The page of `dl runs page`: curves of trainings, and their snapshots by epoch.

import { axesOf, drawScale, insideOf, shortNumber, ticks } from "./chart.js";
import {
  addressState,
  byId,
  colour,
  data,
  element,
  keepState,
  onColours,
  onState,
} from "./page.js";

const DASHES = [[], [7, 4], [2, 3]]; // tell runs apart without colour
const BORDERS = ["solid", "dashed", "dotted"]; // the same in the table
const SETTLED = 0.05; // the first share of a training, which may lie outside of the chart
const ZOOM = 1.5;

const page = data();
const runs = page.runs.map((run, i) => ({ ...run, number: i }));
const charts = Array.from(document.querySelectorAll(".chart"), (canvas) => ({
  canvas,
  reading: canvas.nextElementSibling,
  runs: runs.filter((run) => run.kind === canvas.dataset.kind),
  at: null, // where the reader points
  dragged: null, // where a zoom begins
}));
const epochs = [...new Set(runs.flatMap((run) => Object.keys(run.snapshots).map(Number)))].sort(
  (a, b) => a - b,
);
const state = { measure: byId("measure")?.value, range: null, epoch: epochs.length - 1 };

const colourOf = (run) => colour(`series-${run.number % 4}`);
const dashesOf = (run) => run.number % 3;
const curvesOf = (chart) =>
  chart.runs.flatMap((run) =>
    Object.entries(run.curves[state.measure] ?? {}).map(([side, points]) => ({ run, side, points })),
  );

/** The curve that stands for a run: of validation data where there are any. */
const isMain = ({ run, side }) => side !== "training" || !run.curves[state.measure].validation;

function rangeOf(chart) {
  const all = curvesOf(chart).flatMap(({ points }) => points.map(([x]) => x));
  const whole = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
  if (whole[0] === whole[1]) whole[1] += 1;
  return state.range ?? whole;
}

function drawChart(chart) {
  const [low, high] = rangeOf(chart);
  const curves = curvesOf(chart);
  const first = state.range ? low : low + SETTLED * (high - low);
  const values = curves.flatMap(({ points }) => {
    const inside = points.filter(([x]) => x >= low && x <= high);
    const settled = inside.filter(([x]) => x >= first);
    return (inside.length < 20 ? inside : settled).map(([, y]) => y);
  });
  const [least, most] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const room = 0.06 * (most - least) || Math.abs(most) / 10 || 1;
  const axes = axesOf(chart.canvas, [low, high], [least - room, most + room]);
  const { drawing, x, y } = axes;
  drawScale(axes, {
    across: ticks(low, high, 6).map((one) => [one, shortNumber(one)]),
    up: ticks(least - room, most + room, 5).map((one) => [one, shortNumber(one)]),
  });
  chart.axes = { ...axes, low, high };
  drawing.save();
  insideOf(axes);
  for (const curve of curves) {
    drawing.strokeStyle = drawing.fillStyle = colourOf(curve.run);
    if (isMain(curve)) {
      drawing.setLineDash(DASHES[dashesOf(curve.run)]);
      drawing.lineWidth = 2;
      drawing.beginPath();
      for (const [a, b] of curve.points) drawing.lineTo(x(a), y(b));
      drawing.stroke();
    }
    if (!isMain(curve) || curve.points.length === 1)
      for (const [a, b] of curve.points) drawing.fillRect(x(a) - 1.5, y(b) - 1.5, 3, 3);
  }
  drawing.setLineDash([]);
  drawing.lineWidth = 1;
  drawing.strokeStyle = colour("soft");
  if (chart.at !== null) {
    drawing.beginPath();
    drawing.moveTo(x(chart.at), 0);
    drawing.lineTo(x(chart.at), axes.height);
    drawing.stroke();
  }
  drawing.restore();
  if (chart.dragged !== null && chart.at !== null) {
    drawing.fillStyle = colour("link");
    drawing.globalAlpha = 0.15;
    drawing.fillRect(x(chart.dragged), 0, x(chart.at) - x(chart.dragged), axes.height);
  }
}

/** Say what the curves are where the reader points: at the nearest evaluation of each. */
function read(chart) {
  const near = curvesOf(chart).flatMap(({ run, side, points }) => {
    if (!points.length || chart.at === null) return [];
    const [a, b] = points.reduce((best, one) =>
      Math.abs(one[0] - chart.at) < Math.abs(best[0] - chart.at) ? one : best,
    );
    return [`${run.name}, ${side ? `${side}, ` : ""}${run.axis} ${shortNumber(a)}: ${shortNumber(b)}`];
  });
  chart.reading.textContent = near.join(" · ");
}

function point(chart, at) {
  const { low, high } = chart.axes;
  chart.at = at === null ? null : Math.min(high, Math.max(low, at));
  drawChart(chart);
  read(chart);
}

function zoom(range) {
  state.range = range && range[1] - range[0] > 1e-6 ? range : null;
  showCurves();
  remember({ step: true });
}

const valueAt = (chart, event) => {
  const { left, right, low, high } = chart.axes;
  return low + ((high - low) * (event.offsetX - left)) / (right - left);
};

for (const chart of charts) {
  const { canvas } = chart;
  canvas.addEventListener("pointermove", (event) => point(chart, valueAt(chart, event)));
  canvas.addEventListener("pointerleave", () => {
    chart.dragged = null;
    point(chart, null);
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") chart.dragged = valueAt(chart, event);
    point(chart, valueAt(chart, event));
  });
  canvas.addEventListener("pointerup", (event) => {
    const ends = [chart.dragged ?? 0, valueAt(chart, event)].sort((a, b) => a - b);
    const { low, high } = chart.axes;
    const isZoom = chart.dragged !== null && ends[1] - ends[0] > (high - low) / 50;
    chart.dragged = null;
    if (isZoom) zoom([Math.max(low, ends[0]), Math.min(high, ends[1])]);
  });
  canvas.addEventListener("keydown", (event) => {
    const { low, high } = chart.axes;
    const xs = [...new Set(curvesOf(chart).flatMap(({ points }) => points.map(([x]) => x)))];
    xs.sort((a, b) => a - b);
    const at = chart.at ?? (low + high) / 2;
    const to = {
      ArrowRight: () => xs.find((one) => one > at + 1e-9) ?? at,
      ArrowLeft: () => xs.findLast((one) => one < at - 1e-9) ?? at,
      Home: () => low,
      End: () => high,
    }[event.key];
    const factor = { "+": 1 / ZOOM, "=": 1 / ZOOM, "-": ZOOM }[event.key];
    if (!to && !factor) return;
    event.preventDefault();
    if (to) return point(chart, to());
    const all = xs.length ? [xs[0], xs.at(-1)] : [low, high];
    const range = [at - (at - low) * factor, at + (high - at) * factor];
    const isWhole = range[0] <= all[0] && range[1] >= all[1];
    zoom(isWhole ? null : [Math.max(all[0], range[0]), Math.min(all[1], range[1])]);
  });
}

function showCurves() {
  for (const chart of charts) {
    drawChart(chart);
    read(chart);
  }
  for (const key of document.querySelectorAll(".key")) {
    const run = runs[key.dataset.run];
    key.style.borderTop = `3px ${BORDERS[dashesOf(run)]} ${colourOf(run)}`;
  }
  const whole = byId("whole");
  if (whole) whole.disabled = !state.range;
}

// Snapshots: of each run its newest picture up to the epoch.

const pictures = runs
  .filter((run) => Object.keys(run.snapshots).length)
  .map((run) => {
    const [image, caption] = [element("img"), element("figcaption")];
    byId("snapshots").append(element("figure", {}, image, caption));
    return { run, image, caption };
  });

function showSnapshots() {
  const epoch = epochs[state.epoch];
  byId("epoch").max = epochs.length - 1;
  byId("epoch").value = state.epoch;
  byId("epoch-value").textContent = epoch;
  for (const { run, image, caption } of pictures) {
    const own = Object.keys(run.snapshots).map(Number);
    const shown = Math.max(...own.filter((one) => one <= epoch), Math.min(...own));
    image.src = `data:image/png;base64,${run.snapshots[shown]}`;
    image.alt = `Samples of ${run.name} after epoch ${shown}`;
    caption.textContent = `${run.name}, epoch ${shown}`;
  }
}

byId("measure")?.addEventListener("change", (event) => {
  state.measure = event.target.value;
  showCurves();
  remember({ step: true });
});
byId("whole")?.addEventListener("click", () => zoom(null));
byId("epoch")?.addEventListener("input", (event) => {
  state.epoch = Number(event.target.value);
  showSnapshots();
  remember();
});

function remember(options) {
  const found = {
    ...(state.measure && { measure: state.measure }),
    ...(state.range && { from: state.range[0], to: state.range[1] }),
    ...(epochs.length && { epoch: epochs[state.epoch] }),
  };
  keepState(found, options);
}

function restore() {
  const found = addressState();
  const select = byId("measure");
  if (select) {
    const names = Array.from(select.options, (one) => one.value);
    state.measure = names.includes(found.measure) ? found.measure : names[0];
    select.value = state.measure;
  }
  const range = [found.from, found.to].map((one) => Number.parseFloat(one));
  state.range = range[0] < range[1] ? range : null;
  if (epochs.length) {
    const near = epochs.indexOf(Number(found.epoch ?? NaN));
    state.epoch = near >= 0 ? near : epochs.length - 1;
    showSnapshots();
  }
  showCurves();
}

/** How old the page is; one of a running training loads itself anew. */
function tell() {
  const age = Math.max(0, Math.round(Date.now() / 1000 - page.written));
  const unit = [
    [86400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ].find(([seconds]) => age >= seconds) ?? [1, "second"];
  const count = Math.floor(age / unit[0]);
  byId("age").textContent =
    `Written ${count} ${unit[1]}${count === 1 ? "" : "s"} ago` +
    (page.reload_s ? ", while a training goes on; this page looks for a newer one by itself." : ".");
}

restore();
tell();
performance.mark("first picture");
onState(restore);
onColours(showCurves);
setInterval(tell, page.reload_s ? 1000 : 30000);
if (page.reload_s) setTimeout(() => location.reload(), 1000 * page.reload_s);
for (const { canvas } of charts) new ResizeObserver(showCurves).observe(canvas);
