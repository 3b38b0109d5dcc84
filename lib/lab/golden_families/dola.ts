// DoLa by voidism/DoLa: the exit, the plausible set, scores for answers and for decoding. Exits, sets and tokens are equal.
import { contrast, contrastToken, pickExit, plausibleTokens } from "../../model/contrast.ts";
import { logSoftmax } from "../../model/log_softmax.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Divergences, exits, sets, contrasts, tokens, and scores of the whole answer in each of DoLa's modes. */
export const DOLA_GOLDEN: GoldenFamily = { names: ["dola"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), expert = await golden.matrix("expert_logits"), vocab = expert.cols;
  const exits = await golden.floats("amateur_logits"), ids = golden.ints("token_ids");
  const layers = JSON.parse(golden.text("candidate_layers")) as number[], prompt = golden.number("prompt_tokens");
  const top = golden.number("relative_top"), value = golden.number("relative_top_value");
  const outside = Number.isNaN(value) ? -1000 : value;
  const row = (layer: number, t: number) => {
    const at = (layer * expert.rows + t) * vocab;
    return exits.subarray(at, at + vocab);
  };
  // What predicts the answer's token k stands one position before it.
  const positions = Array.from(ids.slice(prompt), (id, k) => {
    const t = prompt - 1 + k, logits = expert.data.subarray(t * vocab, (t + 1) * vocab);
    return { id, logits, exits: layers.map((_, l) => row(l, t)) };
  });
  const choices = positions.map((p) => pickExit(p.logits, p.exits));
  checks.close("divergence", choices.flatMap((c) => c.divergence), await golden.floats("divergence"), 1e-5);
  checks.share("exits", choices.map((c) => layers[c.picked]), golden.ints("picked_layer"));
  const plausible = positions.flatMap((p) => [...plausibleTokens(p.logits, top)]);
  checks.share("plausible tokens", plausible, golden.ints("plausible"));
  const scoring = { plausibility: top, normalize: golden.flag("post_softmax"), outside };
  const contrasts = (o: typeof scoring, layer?: number) =>
    positions.map((p, k) => contrast(p.logits, p.exits[layer ?? choices[k].picked], o));
  // Both sides struck out alike, so that −1000 does not set the scale.
  const inside = (v: ArrayLike<number>) => Array.from(v, (x, i) => plausible[i] ? x : 0);
  const dynamic = contrasts(scoring), flat = dynamic.flatMap((s) => [...s]);
  const theirs = await golden.floats("contrast_scoring");
  checks.close("contrast for scoring", inside(flat), inside(theirs), 1e-5);
  const struck = (v: ArrayLike<number>) => Array.from(v, (x, i) => plausible[i] ? 0 : x);
  checks.close("its value outside", struck(flat), struck(theirs), 1e-5);
  const decoding = contrasts({ plausibility: top, normalize: false, outside: -Infinity }).flatMap((s) => [...s]);
  checks.close("contrast for decoding", inside(decoding), await golden.floats("contrast_generation"), 1e-5);
  const next = positions.map((p, k) => contrastToken(p.logits, p.exits[choices[k].picked], { plausibility: top }));
  checks.share("next tokens", next, golden.ints("next_token"));
  const total = (scores: readonly Float64Array[]) => scores.reduce((sum, s, k) => sum + s[positions[k].id], 0);
  const scores: [string, number[]][] = [
    ["score", [total(dynamic)]],
    ["score_without_post_softmax", [total(contrasts({ ...scoring, normalize: false }))]],
    ["score_static", layers.map((_, l) => total(contrasts(scoring, l)))],
    ["score_baseline", [total(positions.map((p) => logSoftmax(p.logits)))]],
  ];
  for (const [name, ours] of scores) {
    const expected = await golden.floats(name);
    checks.max(`${name}, absolute`, Math.max(...ours.map((v, i) => Math.abs(v - expected[i]))), 1e-3);
  }
  return checks.list;
}
