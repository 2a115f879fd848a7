// A board to draw an image on: by mouse, finger or keyboard, pixel by pixel of the model's image.

const BRUSH = 0.042; // of the longer side: MNIST's strokes are two to three pixels wide
const MOST_UNDO = 50;

/**
 * Make a board of a canvas.
 *
 * shape: height, width, channels of an image.
 * paint: draws an image on a canvas.
 * changed: called with the image, and with `step` where a stroke or another step has ended.
 */
export function boardOf(canvas, { shape: [H, W, C], paint, changed }) {
  let image = new Float32Array(H * W * C);
  const past = [];
  let ink = new Array(C).fill(1);
  let erasing = false;
  let cursor = [W / 2, H / 2];
  let last = null; // where the pointer was while it is down
  let isPainting = false; // by keys
  const radius = Math.max(0.6, BRUSH * Math.max(H, W));

  function refresh() {
    paint(canvas, image);
    if (!canvas.matches(":focus-visible")) return;
    const drawing = canvas.getContext("2d");
    drawing.fillStyle = "#f08a3c"; // where the brush of the keyboard is
    drawing.fillRect(Math.floor(cursor[0]), Math.floor(cursor[1]), 1, 1);
  }

  function show(step) {
    refresh();
    changed(image, { step });
  }

  function remember() {
    past.push(image.slice());
    if (past.length > MOST_UNDO) past.shift();
  }

  /** Paint from one place to another, softly at the rim. */
  function stroke([x0, y0], [x1, y1]) {
    const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    for (let i = 0; i < H; i++)
      for (let j = 0; j < W; j++) {
        const [x, y] = [j + 0.5, i + 0.5];
        const along = length ? ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length : 0;
        const t = Math.min(1, Math.max(0, along));
        const distance = Math.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0));
        const cover = Math.min(1, Math.max(0, radius + 0.5 - distance));
        for (let c = 0; cover && c < C; c++) {
          const at = (i * W + j) * C + c;
          const mixed = image[at] + cover * ((erasing ? 0 : ink[c]) - image[at]);
          // a rim does not eat into what is painted already
          image[at] = erasing || C > 1 ? mixed : Math.max(image[at], cover);
        }
      }
  }

  const at = (event) => [
    (event.offsetX / canvas.clientWidth) * W,
    (event.offsetY / canvas.clientHeight) * H,
  ];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    remember();
    last = at(event);
    stroke(last, last);
    show(false);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = at(event);
    stroke(last, next);
    cursor = last = next;
    show(false);
  });
  const end = () => {
    if (last) show(true);
    last = null;
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("focus", refresh);
  canvas.addEventListener("blur", refresh);

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const way = ARROWS[event.key];
    const paints = event.key === " " || (way && event.shiftKey);
    if (!way && !paints) return;
    event.preventDefault();
    const before = cursor;
    if (way)
      cursor = [
        Math.min(W - 0.5, Math.max(0.5, cursor[0] + way[0])),
        Math.min(H - 0.5, Math.max(0.5, cursor[1] + way[1])),
      ];
    if (paints) {
      if (!isPainting) remember();
      stroke(before, cursor);
    }
    isPainting ||= Boolean(paints);
    show(false);
  });
  canvas.addEventListener("keyup", () => {
    if (isPainting) show(true);
    isPainting = false;
  });

  function replace(made) {
    remember();
    image = made;
    show(true);
  }

  return {
    get image() {
      return image;
    },
    set: replace,
    /** Put an image there that is no step of the user's. */
    show(made) {
      image = made;
      show(false);
    },
    clear: () => replace(new Float32Array(H * W * C)),
    undo() {
      image = past.pop() ?? image;
      show(true);
    },
    /** Move the centre of mass to the middle. */
    centre() {
      let [mass, x, y] = [0, 0, 0];
      image.forEach((value, i) => {
        const place = Math.floor(i / C);
        mass += value;
        x += value * ((place % W) + 0.5);
        y += value * (Math.floor(place / W) + 0.5);
      });
      if (!mass) return;
      const [right, down] = [Math.round(W / 2 - x / mass), Math.round(H / 2 - y / mass)];
      const moved = new Float32Array(image.length);
      for (let i = 0; i < H; i++)
        for (let j = 0; j < W; j++) {
          const [row, column] = [i - down, j - right];
          if (row < 0 || row >= H || column < 0 || column >= W) continue;
          for (let c = 0; c < C; c++)
            moved[(i * W + j) * C + c] = image[(row * W + column) * C + c];
        }
      replace(moved);
    },
    erase(whether) {
      erasing = whether;
    },
    inkOf(colours) {
      ink = colours;
    },
  };
}
