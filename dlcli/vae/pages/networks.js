// The trained networks, run in the browser: images to q(v|x), latents to logits.
//
// Maps are arrays of height × width × channels, channels last, so the innermost loop of every layer
// runs over output channels that lie side by side, in the weights too; inputs that a ReLU made zero
// are skipped. (`Math.fround`, so that no product is computed in float64, was no faster.)

import { bytesOf } from "../../display/pages/page.js";

/** Float32 numbers of base64 float16. */
export function floatsOf(text) {
  const halves = new Uint16Array(bytesOf(text).buffer);
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const exponent = (halves[i] >> 10) & 31;
    const fraction = halves[i] & 1023;
    const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
    floats[i] = halves[i] & 32768 ? -size : size;
  }
  return floats;
}

/** Networks of what `explore.py` wrote. */
export function networksOf(given) {
  const encoder = given.encoder.map(unpacked);
  const decoder = given.decoder.map(unpacked);
  const flow = given.flow && flowOf(given.flow, given.latent_dim);
  const decodeEncoded = (v) => run(decoder, v);
  return {
    /** Logits of v, where the encoder's Gaussian is. */
    decodeEncoded,
    /** Logits of latents z. */
    decode: (z) => decodeEncoded(flow ? flow.inverse(z) : z),
    /** Mean and log variance of q(v|x). */
    encode(x) {
      const both = run(encoder, x);
      const [low, high] = given.logvar_range;
      const logvar = both.slice(given.latent_dim).map((one) => Math.min(high, Math.max(low, one)));
      return { mean: both.slice(0, given.latent_dim), logvar };
    },
    /** The latents of v, with log |det ∂z/∂v|. */
    latents: (v) => (flow ? flow.forward(v) : { z: v, logDet: 0 }),
  };
}

function unpacked(layer) {
  const made = { ...layer };
  for (const name of ["weight", "bias"]) if (name in made) made[name] = floatsOf(made[name]);
  return made;
}

const LAYERS = { linear, conv, transposed, amax };

function run(layers, input) {
  let values = Float32Array.from(input);
  for (const layer of layers) {
    values = LAYERS[layer.kind](layer, values);
    if (layer.relu) for (let i = 0; i < values.length; i++) if (values[i] < 0) values[i] = 0;
  }
  return values;
}

/** Add x · w[from …] to out[at …], for `count` channels. */
function accumulate(out, at, x, w, from, count) {
  for (let c = 0; c < count; c++) out[at + c] += x * w[from + c];
}

function biased(places, bias) {
  const out = new Float32Array(places * bias.length);
  for (let at = 0; at < out.length; at += bias.length) out.set(bias, at);
  return out;
}

function linear({ weight, bias }, input) {
  const out = Float32Array.from(bias);
  const count = bias.length;
  for (let i = 0; i < input.length; i++)
    if (input[i] !== 0) accumulate(out, 0, input[i], weight, i * count, count);
  return out;
}

/** 3×3 convolution with a border of zeros, then the maximum of each 2×2 block. */
function conv({ weight, bias, size: [H, W] }, input) {
  const outputs = bias.length;
  const inputs = input.length / (H * W);
  const maps = biased(H * W, bias);
  for (let tap = 0; tap < 9; tap++) {
    const down = Math.floor(tap / 3) - 1;
    const right = (tap % 3) - 1;
    for (let i = Math.max(0, -down); i < Math.min(H, H - down); i++)
      for (let j = Math.max(0, -right); j < Math.min(W, W - right); j++) {
        const at = (i * W + j) * outputs;
        const from = ((i + down) * W + j + right) * inputs;
        for (let c = 0; c < inputs; c++)
          if (input[from + c] !== 0)
            accumulate(maps, at, input[from + c], weight, (tap * inputs + c) * outputs, outputs);
      }
  }
  return halved(maps, H, W, outputs);
}

function halved(maps, H, W, channels) {
  const [height, width] = [H >> 1, W >> 1];
  const out = new Float32Array(height * width * channels).fill(-Infinity);
  for (let i = 0; i < 2 * height; i++)
    for (let j = 0; j < 2 * width; j++)
      for (let c = 0; c < channels; c++) {
        const at = ((i >> 1) * width + (j >> 1)) * channels + c;
        out[at] = Math.max(out[at], maps[(i * W + j) * channels + c]);
      }
  return out;
}

/** The largest value of each of some feature maps. */
function amax({ channels }, input) {
  const out = new Float32Array(channels).fill(-Infinity);
  for (let i = 0; i < input.length; i++) out[i % channels] = Math.max(out[i % channels], input[i]);
  return out;
}

/** Transposed convolution: every input adds its multiple of the kernel to the output. */
function transposed(layer, input) {
  const { weight, bias, stride } = layer;
  const [H, W] = layer.from;
  const [height, width] = layer.size;
  const [tall, broad] = layer.kernel;
  const [up, left] = layer.padding;
  const outputs = bias.length;
  const inputs = input.length / (H * W);
  const out = biased(height * width, bias);
  for (let a = 0; a < tall; a++)
    for (let b = 0; b < broad; b++) {
      const tap = (a * broad + b) * inputs;
      for (let i = 0; i < H; i++) {
        const row = i * stride - up + a;
        if (row < 0 || row >= height) continue;
        for (let j = 0; j < W; j++) {
          const column = j * stride - left + b;
          if (column < 0 || column >= width) continue;
          const at = (row * width + column) * outputs;
          const from = (i * W + j) * inputs;
          for (let c = 0; c < inputs; c++)
            if (input[from + c] !== 0)
              accumulate(out, at, input[from + c], weight, (tap + c) * outputs, outputs);
        }
      }
    }
  return out;
}

/** A learned prior: affine couplings that work in pairs, as `Flow` in networks.py says. */
function flowOf({ couplings, most_log_scale: most }, D) {
  const networks = couplings.map((layers) => layers.map(unpacked));
  const kept = Math.floor(D / 2);
  const evens = Math.ceil(D / 2);
  const reordered = (values, number) =>
    number % 2
      ? values.slice().reverse()
      : values.map((_, d) => values[d < evens ? 2 * d : 2 * (d - evens) + 1]);
  const restored = (values, number) =>
    number % 2
      ? values.slice().reverse()
      : values.map((_, d) => values[d % 2 ? evens + (d - 1) / 2 : d / 2]);
  const start = Array.from({ length: D }, (_, d) => d);
  const order = networks.reduce((found, _, number) => reordered(found, number), start);

  function scales(network, values) {
    const found = run(network, values.slice(0, kept));
    const moved = D - kept;
    return [found.subarray(0, moved).map((one) => most * Math.tanh(one)), found.subarray(moved)];
  }

  return {
    forward(v) {
      let values = Float64Array.from(v);
      let logDet = 0;
      networks.forEach((network, number) => {
        values = reordered(values, number);
        const [logScale, shift] = scales(network, values);
        for (let i = 0; i < logScale.length; i++) {
          values[kept + i] = values[kept + i] * Math.exp(logScale[i]) + shift[i];
          logDet += logScale[i];
        }
      });
      const z = new Float64Array(D);
      order.forEach((place, d) => (z[place] = values[d]));
      return { z, logDet };
    },
    inverse(z) {
      let values = Float64Array.from(order, (place) => z[place]);
      for (let number = networks.length - 1; number >= 0; number--) {
        const [logScale, shift] = scales(networks[number], values);
        for (let i = 0; i < logScale.length; i++)
          values[kept + i] = (values[kept + i] - shift[i]) * Math.exp(-logScale[i]);
        values = restored(values, number);
      }
      return values;
    },
  };
}
