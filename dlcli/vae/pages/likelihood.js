// p(x|z) of logits, as likelihood.py defines each: the mean of each pixel, and log p(x|z) in nats.

const softplus = (l) => Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l)));
const logSigmoid = (l) => -softplus(-l);
const sigmoid = (l) => 1 / (1 + Math.exp(-l));

const bernoulli = {
  mean: sigmoid,
  logProb: (l, x) => l * x - softplus(l),
};

const continuousBernoulli = {
  mean(l) {
    if (Math.abs(l) < 0.1) return 0.5 + l / 12 - l ** 3 / 720;
    return -1 / Math.expm1(-l) - 1 / l;
  },
  logProb(l, x) {
    const size = Math.abs(l);
    const series = Math.LN2 + (l * l) / 12 - (7 * l ** 4) / 1440 + (31 * l ** 6) / 90720;
    const logNormalizer = size < 0.1 ? series : Math.log(size) - Math.log(Math.tanh(size / 2));
    return l * x - softplus(l) + logNormalizer;
  },
};

/** A discretised logistic with the scale s. */
function logistic(s) {
  const half = 0.5 / 255;
  const inside = Math.log(-Math.expm1((-2 * half) / s));
  return {
    mean(l) {
      const mu = (1 + l) / 2;
      return Math.min(1, Math.max(0, s * (softplus(mu / s) - softplus((mu - 1) / s))));
    },
    logProb(l, x) {
      const centred = x - (1 + l) / 2;
      const isFirst = x <= half;
      const isLast = x >= 1 - half;
      return (
        (isLast ? 0 : logSigmoid((centred + half) / s)) +
        (isFirst ? 0 : logSigmoid(-(centred - half) / s)) +
        (isFirst || isLast ? 0 : inside)
      );
    },
  };
}

/** The likelihood of whole images, channels last. */
export function likelihoodOf({ name, scales }) {
  const named = { bernoulli: [bernoulli], "continuous-bernoulli": [continuousBernoulli] };
  const each = named[name] ?? scales.map(logistic);
  const of = (i) => each[i % each.length];
  return {
    mean: (logits) => Float32Array.from(logits, (l, i) => of(i).mean(l)),
    logProb: (logits, x) => logits.reduce((sum, l, i) => sum + of(i).logProb(l, x[i]), 0),
  };
}
