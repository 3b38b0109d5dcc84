// The ledger: each claim of the paper beside the numbers that records hold, with a verdict that a rule gives, never a person.
import { join } from "node:path";
import { LabError } from "../io/errors.ts";
import { readRecord, recordFile } from "./record.ts";

/** What the numbers say of a claim. */
export type Verdict = "holds" | "holds in part" | "does not hold here";

/** The verdict of a rule with two parts. */
export const verdictOf = (holds: boolean, inPart: boolean): Verdict =>
  holds ? "holds" : inPart ? "holds in part" : "does not hold here";

/** A share for people: "36.1 %". */
export const percent = (share: number): string => `${(100 * share).toPrecision(3)} %`;

/** A verdict and the numbers it rests on, in words. */
export interface Finding {
  readonly verdict: Verdict;
  readonly numbers: string;
}

/** The numbers of one record, by name. */
export interface Numbers {
  /** One number; a list gives its mean. @throws NotMeasured where the record has none. */
  get(key: string): number;
  /** A list, or one number as a list of one. @throws NotMeasured */
  all(key: string): readonly number[];
  /** Names that end so, what stands before it: rows of the record's table. */
  rows(ending: string): string[];
  /** "38.1 ± 0.2": the mean, and half the range where there are several values. */
  say(key: string): string;
}

/** A claim of the paper. */
export interface Claim {
  readonly claim: string;
  /** Where it stands in the paper. */
  readonly where: string;
  /** The notebook that measures it, such as "05-columns"; null where none does yet. */
  readonly notebook: string | null;
  /** When it holds, and when only in part: `find` in words. */
  readonly rule?: string;
  readonly find?: (numbers: Numbers) => Finding;
}

/** Thrown by {@link Numbers} for what no record holds; the ledger then says that it was not measured. */
export class NotMeasured extends Error {}

/**
 * A record's numbers for a rule.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { numbersOf } from "./claims.ts";
 * const n = numbersOf({ "OWQ 3.1/perplexity": { value: [35.5, 35.9] }, "RTN 3/perplexity": { value: 36.5 } });
 * assert.deepEqual([n.get("OWQ 3.1/perplexity"), n.say("OWQ 3.1/perplexity")], [35.7, "35.70 ± 0.20"]);
 * assert.deepEqual(n.rows("/perplexity"), ["OWQ 3.1", "RTN 3"]);
 * assert.throws(() => n.get("OPTQ 3/perplexity"));
 * ```
 */
export function numbersOf(record: Readonly<Record<string, { readonly value: unknown }>>): Numbers {
  const all = (key: string): readonly number[] => {
    const value = record[key]?.value, values = [value].flat();
    if (values.length === 0 || !values.every((v): v is number => typeof v === "number")) throw new NotMeasured(key);
    return values;
  };
  const get = (key: string) => all(key).reduce((a, b) => a + b, 0) / all(key).length;
  return {
    all,
    get,
    rows: (ending) => Object.keys(record).filter((k) => k.endsWith(ending)).map((k) => k.slice(0, -ending.length)),
    say: (key) => {
      const values = all(key), half = (Math.max(...values) - Math.min(...values)) / 2, shown = get(key).toPrecision(4);
      const digits = (shown.split(".")[1] ?? "").length;
      return values.length > 1 ? `${shown} ± ${half.toFixed(digits)}` : shown;
    },
  };
}

/** Differences of perplexity below this share count as none: codes at three bits flip between devices (README, honest limits). */
export const NOISE = 0.01;

/**
 * Whether numbers come in an order, each less than the next.
 *
 * @param values in the order that is claimed. @param noise share of a value below which two are equal.
 * @returns "holds" when every step goes up by more than the noise, "holds in part" when none goes down by more and one goes
 *   up, else "does not hold here".
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { inOrder } from "./claims.ts";
 * assert.equal(inOrder([10, 12, 15]), "holds");
 * assert.equal(inOrder([10, 10.01, 15]), "holds in part");
 * assert.equal(inOrder([10, 9, 15]), "does not hold here");
 * assert.equal(inOrder([10, 10.01]), "does not hold here"); // a difference of nothing supports no order
 * ```
 */
export function inOrder(values: readonly number[], noise = NOISE): Verdict {
  const steps = values.slice(1).map((v, i) => v / values[i] - 1);
  if (steps.every((s) => s > noise)) return "holds";
  return steps.every((s) => s >= -noise) && steps.some((s) => s > noise) ? "holds in part" : "does not hold here";
}

/** A model whose records the ledger reads. */
const MODELS = [["fixture", "embedded model, 2.6 M"], ["smollm2", "SmolLM2-135M"]] as const;

/**
 * The ledger as Markdown.
 *
 * @param claims in the order of the paper. @param folder of the records.
 * @returns text for notebooks/CLAIMS.md, not yet formatted.
 * @throws LabError "format" for a damaged record.
 */
export async function ledgerText(claims: readonly Claim[], folder: string): Promise<string> {
  const sections: string[] = [], count = new Map<string, number>();
  for (const [i, c] of claims.entries()) {
    const lines = [];
    for (const [model, name] of MODELS) {
      const { verdict, numbers } = await judge(c, folder, model);
      count.set(verdict, (count.get(verdict) ?? 0) + 1);
      lines.push(`- ${name}: _${verdict}_${numbers === "" ? "" : ` · ${numbers}`}`);
    }
    const link = c.notebook === null ? "no notebook yet" : `[notebook ${c.notebook}](${c.notebook}.ipynb)`;
    sections.push(
      `## ${i + 1}. ${c.claim}\n\n${c.where} · ${link}\n\n${lines.join("\n")}${c.rule ? `\n\nRule: ${c.rule}` : ""}`,
    );
  }
  const counts = ["holds", "holds in part", "does not hold here", "not measured here"]
    .map((v) => `${count.get(v) ?? 0} ${v}`).join(", ");
  return `# The papers' claims, and what came out here

Made by \`deno task claims\` from the records in \`notebooks/records\`, never by hand. Each claim of OWQ
([arXiv 2306.02272](https://arxiv.org/abs/2306.02272)), and at the end of AMQ and PruneCD, has a rule that turns recorded numbers
into a verdict; what no record holds is _not measured here_. Perplexities closer than ${
    100 * NOISE
  } % count as equal. Two models of 2.6 and 135 million
parameters say little about models of billions: "does not hold here" is a finding about these two.

Verdicts, one a claim and model: ${counts}.

${sections.join("\n\n")}
`;
}

/** One claim on one model. */
async function judge(c: Claim, folder: string, model: string): Promise<{ verdict: string; numbers: string }> {
  const record = c.notebook === null ? null : await readRecord(join(folder, recordFile(c.notebook, model)));
  const none = { verdict: "not measured here", numbers: "" };
  if (!record || !c.find) return none;
  try {
    const found = c.find(numbersOf(record.numbers));
    if (/NaN|Infinity/.test(found.numbers)) {
      throw new LabError("numeric", `claim "${c.claim}"`, `its numbers on ${model} are ${found.numbers}`);
    }
    return found;
  } catch (e) {
    if (e instanceof NotMeasured) return none;
    throw e;
  }
}

/**
 * The first line in which two texts differ.
 *
 * @returns null where they are equal.
 */
export function firstDifference(stored: string, fresh: string): { line: number; stored: string; fresh: string } | null {
  const a = stored.split("\n"), b = fresh.split("\n");
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    if (a[i] !== b[i]) return { line: i + 1, stored: a[i] ?? "(ends)", fresh: b[i] ?? "(ends)" };
  }
  return null;
}
