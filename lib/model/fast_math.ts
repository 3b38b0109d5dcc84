// exp and silu out of nothing but multiply, add, maximum and select, which jax-js runs four lanes at a time on WebAssembly.
// Its own exp and its division run one lane at a time: 5.1 ms against 1.7 ms for 786 432 exponentials.
import { numpy as np } from "@jax-js/jax";

/** e^x below this is left out: 4e−18 of a share is far under float32's 6e−8. */
const lowest = -40;

/**
 * e^x for x ≤ 0 as (Taylor₉(x/16))^16, x clamped to −40: relative error under 3e−6 down to x = −10, absolute error
 * under 1e−6 everywhere.
 */
export function expNegative(x: np.Array): np.Array {
  const y = np.maximum(x, lowest).mul(1 / 16);
  let r = y.ref.mul(1 / 362880).add(1 / 40320);
  for (const c of [1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1]) r = r.mul(y.ref).add(c);
  y.dispose();
  for (let i = 0; i < 4; i++) r = np.square(r);
  return r;
}

/**
 * x·sigmoid(x) with sigmoid(x) = 1/(1 + a) or a/(1 + a), a = e^−|x|; the reciprocal of 1 + a in [1, 2] by three Newton
 * steps r ← r(2 − (1 + a)r) from a line that is within 0.043 of it.
 */
export function siluFast(x: np.Array): np.Array {
  const a = expNegative(np.minimum(x.ref, x.ref.mul(-1))), y = a.ref.add(1);
  let r = y.ref.mul(-0.5).add(1.457);
  for (let i = 0; i < 3; i++) r = r.ref.mul(y.ref.mul(r).mul(-1).add(2));
  y.dispose();
  return x.ref.mul(np.where(np.less(x, 0), a.mul(r.ref), r));
}
