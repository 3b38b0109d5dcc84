// The claims of the OWQ paper (arXiv 2306.02272), in its order, each with the rule that judges it. Only the rules know numbers'
// names; the numbers themselves stand in records.
import { type Claim, type Finding, inOrder, NOISE, NotMeasured, type Numbers, percent, verdictOf } from "./claims.ts";
import { pairedGap } from "./main_result.ts";
import { RULE_NAMES } from "./outlier_figures.ts";

const middle = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const share = (values: readonly number[], f: (v: number) => boolean) => values.filter(f).length / values.length;

/** Perplexities of some rows that should come in this order, the best first. */
function order(n: Numbers, rows: readonly string[], noise?: number): Finding {
  const keys = rows.map((r) => `${r}/perplexity`);
  return {
    verdict: inOrder(keys.map((k) => n.get(k)), noise),
    numbers: rows.map((r, i) => `${r}: ${n.say(keys[i])}`).join(", "),
  };
}

/** The row of the least or the largest target of a method, such as "OWQ 3.01". */
function target(n: Numbers, method: string, bits: number, which: "least" | "most"): string {
  const of = (row: string) => Number(row.slice(method.length + 1));
  const own = n.rows("/perplexity").filter((r) => r.startsWith(`${method} `) && Math.floor(of(r)) === bits)
    .sort((a, b) => of(a) - of(b));
  return (which === "least" ? own[0] : own.at(-1)) ?? `${method} ${bits}`;
}

/** The numbers of all rows that have one. */
function column(n: Numbers, ending: string): number[] {
  const rows = n.rows(ending);
  if (rows.length === 0) throw new NotMeasured(ending);
  return rows.map((r) => n.get(`${r}${ending}`));
}

/** The bits that a row stores a weight. */
const storedOf = (n: Numbers, row: string) => n.get(`${row}/stored bits`);

/** OWQ's largest target against OPTQ, for each calibration text of notebook 13. */
function headline(n: Numbers): Finding {
  const mark = ", calibrated on ", all = n.rows("/perplexity").filter((r) => r.includes(mark));
  const texts = [...new Set(all.map((r) => r.split(mark)[1]))];
  if (texts.length === 0) throw new NotMeasured(mark);
  const found = texts.map((text) => {
    const labels = all.filter((r) => r.endsWith(mark + text)).map((r) => r.split(mark)[0]);
    const best = labels.filter((l) => l.startsWith("OWQ")).sort((a, b) => Number(a.slice(4)) - Number(b.slice(4))).at(
      -1,
    )!;
    const keys = [best, labels.find((l) => l.startsWith("OPTQ"))!].map((l) => `${l}${mark}${text}/perplexity`);
    const { mean, half, clear } = pairedGap(n.all(keys[0]), n.all(keys[1]));
    const said = `calibrated on ${text}: ${best} ${n.say(keys[0])}, OPTQ 3 ${n.say(keys[1])}, difference ${
      mean.toFixed(2)
    } ± ${half.toFixed(2)}`;
    return { mean, clear, said };
  });
  return {
    verdict: verdictOf(found.every((f) => f.clear && f.mean > 0), found.every((f) => f.mean > 0)),
    numbers: found.map((f) => f.said).join("; "),
  };
}

/** Rules of choosing, as notebook 05 names its rows. */
const CHOICE = { best: RULE_NAMES["hessian-error"], input: RULE_NAMES.hessian, error: RULE_NAMES.error };

/** The product against either factor, in rows whose names end so. */
function choice(n: Numbers, ending: string): Finding {
  const rows = [CHOICE.best, CHOICE.input, CHOICE.error].map((r) => `${r}${ending}`);
  const [best, ...others] = rows.map((r) => n.get(`${r}/perplexity`));
  const better = others.map((p) => inOrder([best, p]) === "holds");
  return {
    verdict: verdictOf(better.every(Boolean), better.some(Boolean) && others.every((p) => best <= p * (1 + NOISE))),
    numbers: rows.map((r) => `${r}: ${n.say(`${r}/perplexity`)}`).join(", "),
  };
}

/** All claims. */
export const CLAIMS: readonly Claim[] = [
  {
    claim: "A few input columns carry most of a layer's output error",
    where: "section 3.2, figure 2",
    notebook: "02-outliers",
    rule: "the top 1 % of the columns carry at least half of the score in most layers; in part: in some layer.",
    find: (n) => {
      const top = column(n, "/carried by the top 1 %"), half = share(top, (v) => v >= 0.5);
      return {
        verdict: verdictOf(half > 0.5, half > 0),
        numbers: `the top 1 % carry ${percent(middle(top))} in the middle layer, ${percent(Math.min(...top))} to ` +
          `${percent(Math.max(...top))}, half or more in ${percent(half)} of ${top.length} layers`,
      };
    },
  },
  {
    claim: "What makes a column weak is what flows into it, an activation outlier",
    where: "sections 1 and 3.2",
    notebook: "02-outliers",
    rule:
      "the input explains more than half of the spread of log score in the middle layer, and in most layers some channel is " +
      "six times the median; in part: one of the two.",
    find: (n) => {
      const input = column(n, "/decided by the input"), loud = column(n, "/loudest input over median");
      const decided = middle(input) > 0.5, outliers = share(loud, (v) => v > 6);
      return {
        verdict: verdictOf(decided && outliers > 0.5, decided || outliers > 0.5),
        numbers: `the input explains ${percent(middle(input))} in the middle layer; ` +
          `${percent(outliers)} of ${loud.length} layers have a channel above six times the median`,
      };
    },
  },
  {
    claim: "Sensitive columns are not the columns of large weights",
    where: "section 3.2, figure 3",
    notebook: "02-outliers",
    rule: "the two choices have less than a quarter in common; in part: less than a half.",
    find: (n) => {
      const common = n.all("overlap of rules")[3];
      return {
        verdict: verdictOf(common < 0.25, common < 0.5),
        numbers: `${percent(common)} in common, averaged over layers`,
      };
    },
  },
  {
    claim: "At 3 bits rounding to nearest is far worse than OPTQ",
    where: "tables 1 and 2",
    notebook: "03-owq",
    rule: "RTN is at least twice OPTQ; in part: worse by more than the noise.",
    find: (n) => {
      const ratio = n.get("RTN 3/perplexity") / n.get("OPTQ 3/perplexity");
      return { ...order(n, ["OPTQ 3", "RTN 3"]), verdict: verdictOf(ratio >= 2, ratio > 1 + NOISE) };
    },
  },
  {
    claim: "OWQ with the fewest weak columns (3.01 bits in the paper) is better than OPTQ at 3 bits",
    where: "tables 1 and 2",
    notebook: "03-owq",
    rule: "lower perplexity by more than the noise.",
    find: (n) => order(n, [target(n, "OWQ", 3, "least"), "OPTQ 3"]),
  },
  {
    claim: "OWQ at 3.1 bits is comparable to OPTQ at 4 bits",
    where: "abstract, tables 1 and 2",
    notebook: "03-owq",
    rule:
      "no more than the noise above OPTQ 4 where OPTQ 3 is; in part: OPTQ 3 is no worse either, or more than half of " +
      "its distance to OPTQ 4 is gone.",
    find: (n) => {
      const [owq, three, four] = ["OWQ 3.1", "OPTQ 3", "OPTQ 4"].map((r) => n.get(`${r}/perplexity`));
      const { numbers } = order(n, ["OPTQ 4", "OWQ 3.1", "OPTQ 3"]), close = owq <= four * (1 + NOISE);
      return { verdict: verdictOf(close && three > four * (1 + NOISE), close || owq < (three + four) / 2), numbers };
    },
  },
  {
    claim: "More weak columns are better: 3.01, then 3.1",
    where: "tables 1 and 2",
    notebook: "03-owq",
    rule: "the largest target below 4 is better than the least by more than the noise.",
    find: (n) => order(n, [target(n, "OWQ", 3, "most"), target(n, "OWQ", 3, "least")]),
  },
  {
    claim: "At 4 bits OWQ is at least as good as OPTQ",
    where: "tables 1 and 2",
    notebook: "03-owq",
    rule: "better by more than the noise; in part: no worse by more than it.",
    find: (n) => {
      const rows = [target(n, "OWQ", 4, "least"), "OPTQ 4"], [owq, optq] = rows.map((r) => n.get(`${r}/perplexity`));
      return { ...order(n, rows), verdict: verdictOf(owq < optq * (1 - NOISE), owq <= optq * (1 + NOISE)) };
    },
  },
  {
    claim:
      "OWQ a little above 3 bits is better than OPTQ at 3 bits whatever calibration windows are drawn, from either text",
    where: "tables 1 and 2, with seeds",
    notebook: "13-main-result",
    rule:
      "for each calibration text lower in the mean by more than twice half the range over seeds; in part: lower in each mean.",
    find: (n) => headline(n),
  },
  {
    claim: "Few- and zero-shot accuracy is 2 to 4 % above OPTQ at 3 bits",
    where: "tables 3 and 4",
    notebook: "10-tasks",
    rule:
      "2 points or more above OPTQ over all questions, and the 95 % interval of the paired difference is above zero; in part: " +
      "above zero by less.",
    find: (n) => {
      const optq = n.get("all tasks, plain/acc"),
        owq = n.get("all tasks, owq/acc"),
        low = n.get("all tasks, owq/paired low");
      const points = (v: number) => (100 * v).toFixed(1).replace("-", "−");
      const high = n.get("all tasks, owq/paired high"),
        questions = n.rows("/questions").filter((r) => r.endsWith(", float"));
      return {
        verdict: verdictOf(low > optq && owq - optq >= 0.02, low > optq),
        numbers: `OPTQ ${points(optq)} %, OWQ ${points(owq)} % right; difference ${points(owq - optq)} points ` +
          `(${points(low - optq)} … ${points(high - optq)}) on ${
            questions.reduce((a, r) => a + n.get(`${r}/questions`), 0)
          } questions` +
          (low <= optq && high >= optq ? ": none was seen" : ""),
      };
    },
  },
  {
    claim: "A few weak columns cost no more than about 3 % of a matrix-vector product's time",
    where: "section 4, LLaMA-7B at 3.01 bits: + 3.21 %",
    notebook: "04-kernels",
    rule: "4 weak columns of 1024 cost at most 5 %; in part: at most 15 %. On the device of the record.",
    find: (n) => {
      const times = [4, 16, 64].map((k) => n.get(`${k} weak columns/time over none`));
      return {
        verdict: verdictOf(times[0] <= 1.05, times[0] <= 1.15),
        numbers: `4, 16, 64 weak columns: ${times.map((t) => t.toFixed(3)).join(", ")} of the time without`,
      };
    },
  },
  {
    claim: "At 3.01 bits the weak columns add about 0.3 % to what is stored",
    where: "text",
    notebook: "11-time-memory",
    rule:
      "counted, not measured, for the shapes of OPT-66B and LLaMA-7B: values and indices are at most 0.35 % of the codes; in " +
      "part: at most 0.5 %. It does not depend on the model that runs.",
    find: (n) => {
      const models = ["LLaMA-7B", "OPT-66B"], shares = models.map((m) => n.get(`${m} at 3.01/weak columns over codes`));
      const worst = Math.max(...shares), own = "this model at 3.01";
      return {
        verdict: verdictOf(worst <= 0.0035, worst <= 0.005),
        numbers: models.map((m, i) => `${m}: ${percent(shares[i])}`).join(", ") +
          `; this model: ${percent(n.get(`${own}/weak columns over codes`))}, ${
            n.get(`${own}/weak columns`)
          } columns in all`,
      };
    },
  },
  {
    claim: "Tuning few columns (weak column tuning) is as good as LoRA on the same base",
    where: "figure 4",
    notebook: "12-wct",
    rule:
      "with fewer trained values held-out perplexity is no more than the noise above the best LoRA's, in the mean over seeds; " +
      "in part: 90 % of that LoRA's gain over the base (in nats) are there. The judge is perplexity, not GPT-4.",
    find: (n) => {
      const best = (start: string) =>
        n.rows("/perplexity").filter((r) => r.startsWith(start))
          .sort((a, b) => n.get(`${a}/perplexity`) - n.get(`${b}/perplexity`))[0];
      const rows = [best("WCT"), best("LoRA")], nats = (r: string) => Math.log(n.get(`${r}/perplexity`));
      const [w, l] = rows.map(nats), base = nats("base"), values = rows.map((r) => n.get(`${r}/trained values`));
      const fewer = values[0] < values[1], kept = (base - w) / (base - l);
      return {
        verdict: verdictOf(fewer && w <= l + Math.log(1 + NOISE), fewer && kept >= 0.9),
        numbers: `base: ${n.say("base/perplexity")}, ` +
          rows.map((r, i) => `${r}: ${n.say(`${r}/perplexity`)} (${values[i]} values)`).join(", ") +
          `; of LoRA's gain: ${percent(kept)}`,
      };
    },
  },
  {
    claim: "OWQ needs far less overhead than groups for the same quality",
    where: "table 6",
    notebook: "09-groups",
    rule:
      "with about half of the bits beside the codes (the smaller budget) weak columns are no worse than groups with all of " +
      "them (the larger); in part: better by more than the noise at either budget, everything stored counted.",
    find: (n) => {
      const rows = (what: string) =>
        n.rows("/perplexity").filter((r) => r.startsWith(`${what}, `)).sort((a, b) => storedOf(n, a) - storedOf(n, b));
      const groups = rows("groups"), weak = rows("weak columns"), p = (r?: string) => n.get(`${r}/perplexity`);
      const better = groups.some((g, i) => p(weak[i]) < p(g) * (1 - NOISE));
      return {
        verdict: verdictOf(p(weak[0]) <= p(groups.at(-1)) * (1 + NOISE), better),
        numbers: [...groups, ...weak].map((r) => `${r}: ${n.say(`${r}/perplexity`)}`).join(", "),
      };
    },
  },
  {
    claim: "Choosing by Hessian × error is better than by the Hessian alone or by the error alone",
    where: "table 7",
    notebook: "05-columns",
    rule: "perplexity lower than both by more than the noise; in part: lower than one and no worse than the other.",
    find: (n) => choice(n, ""),
  },
  {
    claim: "The same, where outlier channels were put in (not in the paper: the condition that it assumes)",
    where: "table 7",
    notebook: "05-columns",
    rule: "as above; one seed, so that chance has a say.",
    find: (n) => choice(n, ", injected"),
  },
  {
    claim: "Very few weak columns already help, and the gain saturates",
    where: "table 8",
    notebook: "06-how-many",
    rule:
      "the fewest columns are better than none by more than the noise, and the first half of the gain takes at most a quarter " +
      "of the columns; in part: one of the two.",
    find: (n) => {
      const rows = n.rows("/perplexity").filter((r) => /^\d+ columns?$/.test(r)).map((r) => ({ r, k: parseInt(r) }))
        .sort((a, b) => a.k - b.k);
      if (rows.length < 3) return order(n, ["1 column", "0 columns"]);
      const p = rows.map(({ r }) => n.get(`${r}/perplexity`)), gain = p[0] - Math.min(...p);
      const half = rows.findIndex((_, i) => p[0] - p[i] >= gain / 2), few = p[1] < p[0] * (1 - NOISE);
      const early = gain > NOISE * p[0] && rows[half].k <= rows.at(-1)!.k / 4;
      return {
        verdict: verdictOf(few && early, few || early),
        numbers: rows.map(({ r }) => `${r}: ${n.say(`${r}/perplexity`)}`).join(", "),
      };
    },
  },
  {
    claim: "The grid search (truncation) helps OWQ",
    where: "section 3.4",
    notebook: "07-grid-search",
    rule: "lower perplexity by more than the noise.",
    find: (n) => order(n, ["OWQ, searched", "OWQ, min–max"]),
  },
  {
    claim: "The grid search hurts plain OPTQ",
    where: "section 3.4",
    notebook: "07-grid-search",
    rule: "higher perplexity by more than the noise.",
    find: (n) => order(n, ["OPTQ, min–max", "OPTQ, searched"]),
  },
  {
    claim: "Weak columns in some linears only (query and key) keep most of the gain",
    where: "appendix",
    notebook: "09-groups",
    rule:
      "there is a gain beyond the noise, and query and key keep more than half of it; in part: more than a quarter. The same " +
      "nominal bits, shared by fewer linears.",
    find: (n) => {
      const rows = ["no weak columns", "columns in all linears", "columns in q, k only"];
      const [none, all, some] = rows.map((r) => n.get(`${r}/perplexity`)), gain = none - all;
      const kept = (none - some) / gain, real = gain > NOISE * none;
      return {
        verdict: verdictOf(real && kept > 0.5, real && kept > 0.25),
        numbers: rows.map((r) => `${r}: ${n.say(`${r}/perplexity`)}`).join(", ") +
          (real ? `; kept: ${percent(kept)}` : "; the gain is within the noise"),
      };
    },
  },
  {
    claim: "Act-order and true-sequential add little to OWQ",
    where: "appendix",
    notebook: "09-groups",
    rule:
      "neither of them nor both lower OWQ's perplexity by more than the noise; in part: both lower it by less than half of the " +
      "share by which they lower OPTQ's.",
    find: (n) => {
      const rows = ["OPTQ", "OPTQ, both", "OWQ", ...["act-order", "true-sequential", "both"].map((o) => `OWQ, ${o}`)];
      const [optq, optqBoth, owq, ...ordered] = rows.map((r) => n.get(`${r}/perplexity`));
      const gain = (plain: number, p: number) => 1 - p / plain;
      return {
        verdict: verdictOf(
          ordered.every((p) => gain(owq, p) <= NOISE),
          gain(optq, optqBoth) > NOISE && gain(owq, ordered[2]) < gain(optq, optqBoth) / 2,
        ),
        numbers: rows.map((r) => `${r}: ${n.say(`${r}/perplexity`)}`).join(", "),
      };
    },
  },
];
