// Latents z: draws from the prior, paths between two, and the ELBO and the IWAE bound of an image.

/** Draws of a standard normal distribution, the same for the same seed. */
export function normals(seed) {
  let state = (seed * 2654435761 + 0x9e3779b9) >>> 0;
  const uniform = () => {
    // mulberry32, by Tommy Ettinger
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

const dot = (a, b) => a.reduce((sum, one, d) => sum + one * b[d], 0);

/** A point of the way from a to b: along the arc, as `dl vae interpolate` goes. */
export function between(a, b, t) {
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const [from, to] =
    Math.sin(angle) > 1e-4
      ? [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)]
      : [1 - t, t];
  return a.map((one, d) => from * one + to * b[d]);
}

/** KL(q(v|x) ‖ N(0, 1)) of each dimension, nats. */
export const klOf = ({ mean, logvar }) =>
  Array.from(mean, (m, d) => 0.5 * (Math.expm1(logvar[d]) - logvar[d] + m * m));

/**
 * Draw from q(z|x) and return after each draw what is known by then: reconstruction, KL, ELBO and
 * IWAE bound, nats. With a learned prior, of which the KL has no closed form, it is an average too.
 */
export function* bounds({ networks, likelihood, posterior, image, seed, hasFlow }) {
  const { mean, logvar } = posterior;
  const normal = normals(seed);
  const exactKl = klOf(posterior).reduce((sum, one) => sum + one, 0);
  const weights = [];
  let [logLikelihood, kl] = [0, 0];
  for (;;) {
    const noise = Float64Array.from(mean, normal);
    const v = noise.map((one, d) => mean[d] + Math.exp(logvar[d] / 2) * one);
    const { z, logDet } = networks.latents(v);
    const logLik = likelihood.logProb(networks.decodeEncoded(v), image);
    const terms = noise.map((one, d) => one * one + logvar[d] - z[d] * z[d]);
    const logRatio = 0.5 * terms.reduce((sum, one) => sum + one, 0) + logDet;
    weights.push(logLik + logRatio);
    logLikelihood += logLik;
    kl -= logRatio;
    const k = weights.length;
    const most = Math.max(...weights);
    const sum = weights.reduce((found, one) => found + Math.exp(one - most), 0);
    const found = { k, reconstruction: -logLikelihood / k, kl: hasFlow ? kl / k : exactKl };
    yield { ...found, elbo: -found.reconstruction - found.kl, iwae: most + Math.log(sum / k) };
  }
}
