// lm-evaluation-harness: each question's verdicts, their means and errors, perplexities of documents. Counts are equal.
import { LabError } from "../../io/errors.ts";
import { documentPerplexities, judgeChoices, meanWithError, type Verdict } from "../../model/scorer.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** The harness's names of a verdict's numbers. */
const NAMES = new Map<string, keyof Verdict>([
  ["acc", "acc"],
  ["acc_norm", "accNorm"],
  ["acc_bytes", "accBytes"],
  ["exact_match", "exactMatch"],
]);

/** Verdicts, means, standard errors, perplexities. */
export const LM_EVAL_GOLDEN: GoldenFamily = { names: ["lm-eval"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks(), ll = await golden.matrix("log_likelihood"), gold = golden.ints("gold");
  const choices = JSON.parse(golden.text("choices")) as string[][], greedy = golden.ints("is_greedy");
  const counts = choices.map((c) => c.length);
  checks.share("choice counts", counts, golden.ints("choice_count"));
  const verdicts = choices.map((texts, q) => {
    const from = q * ll.cols, to = from + texts.length;
    return judgeChoices(ll.data.slice(from, to), texts, gold[q], Array.from(greedy.slice(from, to), (g) => g !== 0));
  });
  const order = JSON.parse(golden.text("order") || "[]") as string[];
  const means = order.map((name) => {
    const key = NAMES.get(name);
    if (!key) throw new LabError("input", golden.label, `the number "${name}" is unknown here`);
    return { name, values: verdicts.map((v) => v[key]) };
  });
  for (const { name, values } of means) {
    if (golden.has(name)) checks.share(name, values, await golden.floats(name));
  }
  const found = means.map((m) => meanWithError(m.values));
  checks.close("means", found.map((m) => m.mean), await golden.floats("mean"), 1e-5);
  checks.close("standard errors", found.map((m) => m.standardError), await golden.floats("stderr"), 1e-5);
  if (golden.has("rolling")) {
    const r = await golden.matrix("rolling"), at = (d: number, c: number) => r.data[d * r.cols + c];
    const documents = Array.from({ length: r.rows }, (_, d) => {
      return { logLikelihood: at(d, 0), words: at(d, 1), bytes: at(d, 2) };
    });
    const p = documentPerplexities(documents), theirs = await golden.floats("perplexities");
    checks.relative("perplexity per word", p.word, theirs[0], 1e-5);
    checks.relative("perplexity per byte", p.byte, theirs[1], 1e-5);
    checks.relative("bits per byte", p.bitsPerByte, theirs[2], 1e-5);
  }
  return checks.list;
}
