// Charts on a canvas: axes and their scales.

import { colour } from "./page.js";

const MARGIN = { left: 52, right: 10, top: 10, bottom: 22 };

/** A canvas cleared for drawing, in CSS pixels, and functions from values to places. */
export function axesOf(canvas, [x0, x1], [y0, y1]) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const drawing = canvas.getContext("2d");
  drawing.scale(ratio, ratio);
  drawing.font = "11px system-ui, sans-serif";
  const [w, h] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  const x = (value) => MARGIN.left + (w * (value - x0)) / (x1 - x0);
  const y = (value) => MARGIN.top + h - (h * (value - y0)) / (y1 - y0);
  const [left, right] = [MARGIN.left, width - MARGIN.right];
  return { drawing, x, y, left, right, width, height };
}

/** Steps of 1, 2 or 5 times a power of ten, about `many` of them. */
export function ticks(low, high, many) {
  const rough = (high - low) / many;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

/** A number as people write it, to five digits. */
export const shortNumber = (value) =>
  value.toLocaleString("en", { maximumSignificantDigits: 5 }).replace("-", "−");

/** Draw grid lines and their names: pairs of a value and its words. */
export function drawScale({ drawing, x, y, left, right, width, height }, { across, up }) {
  drawing.fillStyle = colour("soft");
  drawing.strokeStyle = colour("rule");
  drawing.lineWidth = 1;
  drawing.textAlign = "right";
  for (const [value, name] of up) {
    drawing.beginPath();
    drawing.moveTo(left, y(value));
    drawing.lineTo(right, y(value));
    drawing.stroke();
    drawing.fillText(name, left - 5, y(value) + 4);
  }
  for (const [value, name] of across) {
    const half = drawing.measureText(name).width / 2;
    drawing.textAlign = "center";
    drawing.fillText(name, Math.min(x(value), width - half - 4), height - 7);
  }
}

/** Let nothing be drawn outside of the axes; `drawing.restore()` ends that. */
export function insideOf({ drawing, left, right, height }) {
  drawing.beginPath();
  drawing.rect(left, MARGIN.top, right - left, height - MARGIN.top - MARGIN.bottom);
  drawing.clip();
}
