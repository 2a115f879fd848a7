// A map of the latents over two axes: test images as marks, the present latents as a ring to drag.

import { colour, element, onColours } from "../../display/pages/page.js";

const along = (z, axis) => axis.direction.reduce((sum, one, d) => sum + one * z[d], 0);
const NEAR = 9; // pixels from a mark

/**
 * Make the map of a canvas.
 *
 * axes: those to choose from, `{ key, name, direction }` of length 1.
 * points: `{ z, label }` of test images; may be none.
 * move: called with new latents, and whether a test image was chosen.
 * point: called with the number of the image under the pointer, or null, and its place.
 */
export function mapOf(canvas, { axes, points, selects, move, point }) {
  const drawing = canvas.getContext("2d");
  const marks = document.createElement("canvas"); // drawn again only when axes or colours change
  let chosen = [axes[0], axes[1]];
  let z = null;
  let places = [];
  let ranges = [];
  let [width, height, ratio] = [0, 0, 1];

  for (const [side, select] of selects.entries()) {
    select.append(...axes.map(({ key, name }) => element("option", { value: key }, name)));
    select.addEventListener("change", () => {
      const axis = axes.find(({ key }) => key === select.value);
      if (axis === chosen[1 - side]) chosen.reverse();
      else chosen[side] = axis;
      layOut();
      move(z, { step: true });
    });
  }

  function layOut() {
    selects.forEach((select, side) => (select.value = chosen[side].key));
    ratio = devicePixelRatio || 1;
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    for (const one of [canvas, marks]) [one.width, one.height] = [width * ratio, height * ratio];
    const values = chosen.map((axis) => points.map((one) => along(one.z, axis)));
    ranges = values.map((found) => {
      const [low, high] = [Math.min(-2.5, ...found), Math.max(2.5, ...found)];
      return [low - 0.06 * (high - low), high + 0.06 * (high - low)];
    });
    places = points.map((_, i) => placeOf([values[0][i], values[1][i]]));
    drawMarks();
    draw();
  }

  const placeOf = ([x, y]) => [
    (width * (x - ranges[0][0])) / (ranges[0][1] - ranges[0][0]),
    height - (height * (y - ranges[1][0])) / (ranges[1][1] - ranges[1][0]),
  ];
  const valuesAt = ([left, top]) => [
    ranges[0][0] + (left / width) * (ranges[0][1] - ranges[0][0]),
    ranges[1][0] + (1 - top / height) * (ranges[1][1] - ranges[1][0]),
  ];

  function drawMarks() {
    const on = marks.getContext("2d");
    on.setTransform(ratio, 0, 0, ratio, 0, 0);
    on.clearRect(0, 0, width, height);
    on.textAlign = "center";
    on.textBaseline = "middle";
    const [left, top] = placeOf([0, 0]);
    on.fillStyle = colour("rule");
    on.fillRect(left, 0, 1, height);
    on.fillRect(0, top, width, 1);
    on.fillStyle = colour("soft");
    on.font = "12px sans-serif";
    ranges.forEach(([low, high], side) => {
      const step = high - low < 9 ? 1 : 2;
      for (let tick = Math.ceil(low / step) * step; tick < high; tick += step) {
        const [x, y] = placeOf(side ? [0, tick] : [tick, 0]);
        const isNearEdge = side ? Math.min(y, height - y) < 20 : Math.min(x, width - x) < 20;
        if (!tick || isNearEdge) continue;
        on.fillText(`${tick}`.replace("-", "−"), side ? 11 : x, side ? y : height - 9);
      }
    });
    on.font = "600 11px sans-serif";
    const inks = Array.from({ length: 10 }, (_, i) => colour(`class-${i}`));
    points.forEach(({ label }, i) => {
      on.fillStyle = inks[(label ?? 0) % 10];
      on.fillText(label ?? "•", ...places[i]);
    });
  }

  function draw() {
    if (!z || !width) return;
    drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawing.clearRect(0, 0, width, height);
    drawing.drawImage(marks, 0, 0, width, height);
    const [left, top] = placeOf(chosen.map((axis) => along(z, axis)));
    for (const [ink, line] of [
      [colour("card"), 6],
      [colour("ink"), 2.5],
    ]) {
      drawing.strokeStyle = ink;
      drawing.lineWidth = line;
      drawing.beginPath();
      drawing.arc(left, top, 9, 0, 2 * Math.PI);
      drawing.stroke();
    }
  }

  function nearest([left, top]) {
    let [best, found] = [NEAR ** 2, null];
    places.forEach(([x, y], i) => {
      const distance = (x - left) ** 2 + (y - top) ** 2;
      if (distance < best) [best, found] = [distance, i];
    });
    return found;
  }

  /** Move the latents within the plane of the axes. */
  function moveTo(values, options) {
    const moved = Array.from(z);
    chosen.forEach((axis, side) => {
      const step = values[side] - along(z, axis);
      axis.direction.forEach((one, d) => (moved[d] += one * step));
    });
    move(moved, options);
  }

  const at = (event) => [event.offsetX, event.offsetY];
  let began = null;
  let dragged = false;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [began, dragged] = [at(event), false];
  });
  canvas.addEventListener("pointermove", (event) => {
    const place = at(event);
    if (began && Math.hypot(place[0] - began[0], place[1] - began[1]) > 4) dragged = true;
    if (dragged) moveTo(valuesAt(place));
    point(dragged ? null : nearest(place), place);
  });
  canvas.addEventListener("pointerup", (event) => {
    const found = dragged ? null : nearest(at(event));
    if (found !== null) move(points[found].z, { step: true, image: found });
    else moveTo(valuesAt(at(event)), { step: true });
    began = null;
    dragged = false;
  });
  canvas.addEventListener("pointercancel", () => ([began, dragged] = [null, false]));
  canvas.addEventListener("pointerleave", () => point(null));
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  canvas.addEventListener("keydown", (event) => {
    const way = ARROWS[event.key];
    if (!way) return;
    event.preventDefault();
    const values = chosen.map((axis) => along(z, axis));
    moveTo(values.map((one, side) => one + (way[side] * (ranges[side][1] - ranges[side][0])) / 50));
  });
  onColours(layOut);
  new ResizeObserver(layOut).observe(canvas);
  return {
    show(latents) {
      z = latents;
      draw();
    },
    get axes() {
      return chosen.map(({ key }) => key);
    },
    choose(keys) {
      const found = keys.map((wanted) => axes.find(({ key }) => key === wanted));
      if (!found.every(Boolean) || found[0] === found[1]) return;
      chosen = found;
      layOut();
    },
  };
}
