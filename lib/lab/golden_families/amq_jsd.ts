// AMQ's divergence of logits, both definitions; by dlwns147/amq and, for the old one, dlwns147/nsgaquant. Small values cancel in
// float32, in which they were computed: hence 1e-4.
import { sequenceDivergence } from "../../model/divergence.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Both definitions by sequence and over all sequences. */
export const AMQ_JSD_GOLDEN: GoldenFamily = { names: ["amq-jsd"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), fp = await golden.floats("logits_fp"), q = await golden.floats("logits_quantized");
  const [sequences, length, vocab] = golden.file.tensors.get("logits_fp")!.shape, size = length * vocab;
  const eps = golden.number("eps");
  const found = Array.from({ length: sequences }, (_, s) => {
    const part = (v: typeof fp) => v.subarray(s * size, (s + 1) * size);
    return sequenceDivergence(part(fp), part(q), vocab, Number.isNaN(eps) ? undefined : eps);
  });
  for (const key of ["jsd", "old"] as const) {
    const ours = found.map((d) => d[key]), theirs = await golden.floats(`${key}_per_sequence`);
    ours.forEach((v, s) => checks.relative(`${key} of sequence ${s + 1}`, v, theirs[s], 1e-4));
    const mean = ours.reduce((a, v) => a + v, 0) / sequences;
    checks.relative(`${key}, all sequences`, mean, (await golden.floats(key))[0], 1e-4);
  }
  return checks.list;
}
