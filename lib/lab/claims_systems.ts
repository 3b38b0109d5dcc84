// The claims of the authors' other two papers, AMQ (arXiv 2509.12019) and PruneCD (arXiv 2509.16598), each with the rule that
// judges it. Their texts could not be had in full: the claims are those of the abstracts and of the published search results.
import { type Claim, NOISE, NotMeasured, type Numbers, percent, verdictOf } from "./claims.ts";
import { points } from "./tasks/paired.ts";

const AMQ = "[AMQ](https://arxiv.org/abs/2509.12019)", PRUNECD = "[PruneCD](https://arxiv.org/abs/2509.16598)";

/** A difference with its interval, as records keep it: [mean, low, high]. */
function difference(n: Numbers, key: string): { mean: number; low: number; said: string } {
  const [mean, low, high] = n.all(key);
  return { mean, low, said: `${points(mean)} points (${points(low)} … ${points(high)})` };
}

/** The claims, AMQ's first. */
export const SYSTEM_CLAIMS: readonly Claim[] = [
  {
    claim: "A few linears are far more sensitive to few bits than all others",
    where: `${AMQ}, its published scans (in Llama-2-7B 4 of 224 linears, the first 38 times the median)`,
    notebook: "14-amq",
    rule:
      "some linear's divergence is ten times the median, and at most a tenth of them twice; in part: some is twice the median.",
    find: (n) => {
      const all = n.all("scan/divergence by linear"), median = n.get("scan/median");
      const twice = all.filter((v) => v > 2 * median).length / all.length, most = Math.max(...all) / median;
      return {
        verdict: verdictOf(most >= 10 && twice <= 0.1, most >= 2),
        numbers: `the first ${most.toPrecision(3)} times the median, ${
          percent(twice)
        } of ${all.length} above twice of it`,
      };
    },
  },
  {
    claim: "Bits chosen linear by linear are better than uniform bits at the same average",
    where: `${AMQ}, abstract`,
    notebook: "14-amq",
    rule: "perplexity of the final model lower at every average by more than the noise; in part: at one of them.",
    find: (n) => {
      const mark = " by linear ", rows = n.rows("/perplexity").filter((r) => r.includes(mark));
      const pairs = rows.map((r) => [r, r.replace(mark, " uniform ")]).filter(([, u]) =>
        n.rows("/perplexity").includes(u)
      );
      if (pairs.length === 0) throw new NotMeasured(mark);
      const better = pairs.map(([a, b]) => n.get(`${a}/perplexity`) < n.get(`${b}/perplexity`) * (1 - NOISE));
      return {
        verdict: verdictOf(better.every(Boolean), better.some(Boolean)),
        numbers: pairs.flat().map((r) => `${r}: ${n.say(`${r}/perplexity`)}`).join(", "),
      };
    },
  },
  {
    claim: "The search finds a better front than random configurations and than one shot by sensitivity",
    where: `${AMQ}, ablations`,
    notebook: "14-amq",
    rule: "the area above the front is larger than both by more than 1 %; in part: than one.",
    find: (n) => {
      const own = n.get("AMQ/area"),
        others = ["random", "one shot"],
        less = others.map((o) => n.get(`${o}/area`) < own / (1 + NOISE));
      return {
        verdict: verdictOf(less.every(Boolean), less.some(Boolean)),
        numbers: ["AMQ", ...others].map((o) => `${o}: ${n.say(`${o}/area`)}`).join(", "),
      };
    },
  },
  {
    claim: "Early exits are no good amateurs, a pruned self is: it stays near the model",
    where: `${PRUNECD}, abstract`,
    notebook: "15-prunecd",
    rule:
      "at every exit less overlap with the model's ten likeliest tokens and more divergence than the pruned self; in part: at most.",
    find: (n) => {
      const exits = n.rows("/overlap").filter((r) => r.startsWith("exit "));
      if (exits.length === 0) throw new NotMeasured("exits");
      const worse = exits.map((e) =>
        n.get(`${e}/overlap`) < n.get("pruned/overlap") && n.get(`${e}/divergence`) > n.get("pruned/divergence")
      );
      const said = (r: string) =>
        `${r}: overlap ${percent(n.get(`${r}/overlap`))}, divergence ${n.say(`${r}/divergence`)}`;
      return {
        verdict: verdictOf(worse.every(Boolean), worse.filter(Boolean).length * 2 > worse.length),
        numbers: [...exits, "pruned"].map(said).join("; "),
      };
    },
  },
  {
    claim: "Contrast with the pruned self gives more right answers than the model alone",
    where: `${PRUNECD}, abstract`,
    notebook: "15-prunecd",
    rule: "the 95 % interval of the paired difference lies above zero; in part: the difference does.",
    find: (n) => {
      const d = difference(n, "PruneCD/less the model's"), random = difference(n, "random blocks/less the model's");
      return {
        verdict: verdictOf(d.low > 0, d.mean > 0),
        numbers: `${d.said} on ${n.get("questions")} questions; with random blocks ${random.said}`,
      };
    },
  },
  {
    claim: "It gives more right answers than DoLa",
    where: `${PRUNECD}, abstract`,
    notebook: "15-prunecd",
    rule:
      "its interval against the model lies above zero and DoLa's does not; in part: a larger share of right answers.",
    find: (n) => {
      const own = difference(n, "PruneCD/less the model's"), dola = difference(n, "DoLa/less the model's");
      return {
        verdict: verdictOf(own.low > 0 && dola.low <= 0, own.mean > dola.mean),
        numbers: `against the model PruneCD ${own.said}, DoLa ${dola.said}`,
      };
    },
  },
  {
    claim: "It costs little at inference",
    where: `${PRUNECD}, abstract`,
    notebook: "15-prunecd",
    rule:
      "seconds a token at most 1.1 times greedy decoding's; in part: at most 1.5. Two caches, no batching: ours does not share.",
    find: (n) => {
      const own = n.all("the model/seconds a token"),
        ratios = n.all("PruneCD/seconds a token").map((t, i) => t / own[i]);
      const sorted = [...ratios].sort((a, b) => a - b), ratio = sorted[Math.floor(sorted.length / 2)];
      return {
        verdict: verdictOf(ratio <= 1.1, ratio <= 1.5),
        numbers: `${ratio.toFixed(2)} times, ${sorted[0].toFixed(2)} to ${
          sorted.at(-1)!.toFixed(2)
        } over ${ratios.length} rounds`,
      };
    },
  },
];
