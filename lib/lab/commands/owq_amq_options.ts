// The words of `owq amq`: its subcommands with their options, as --help shows them.
import { TOLERANCE } from "../amq/models.ts";
import { WAYS } from "../amq/study.ts";
import { type CommandInfo, helpText } from "../command.ts";
import { DEVICES, RECIPE_OPTIONS } from "./owq_options.ts";

const OUT = { value: "DIR", help: "folder of the study; out/amq/MODEL by default" };
const JSON_OPTION = { help: "one JSON object on standard output, nothing else" };
const DRY = { help: "say what would be evaluated and how long it will take" };
const PROXY_OPTIONS = {
  model: RECIPE_OPTIONS.model,
  bits: { value: "LIST", help: "bits that a linear may have, such as 2,3,4 (default)" },
  group: { value: "G", help: "columns a scale and a zero point; the largest of 128, 64, 32 that fits by default" },
  text: { value: "TEXT", help: "text that predictions are compared on, as --calib elsewhere; moby-dick by default" },
  samples: { value: "N", help: "its windows; 8 by default" },
  "seq-len": { value: "L", help: "tokens a window; 256 by default, 128 for the embedded model" },
  seed: { value: "S", help: "seed of every random choice; 0 by default" },
  "local-copy": RECIPE_OPTIONS["local-copy"],
};
const THRESHOLD = { value: "T", help: "pin linears above T medians of the scan; 0: none; 2 by default" };

const MODEL_OPTIONS = {
  out: OUT,
  name: { value: "NAME", help: "the search; amq by default" },
  methods: { value: "LIST", help: "final quantizers; optq,awq,owq by default" },
  calib: RECIPE_OPTIONS.calib,
  "calib-samples": RECIPE_OPTIONS["calib-samples"],
  eval: RECIPE_OPTIONS.eval,
  "eval-samples": RECIPE_OPTIONS["eval-samples"],
  "seq-len": RECIPE_OPTIONS["seq-len"],
  "local-copy": RECIPE_OPTIONS["local-copy"],
  device: { value: DEVICES.join("|"), help: "where the kernels run; auto by default" },
};

/** The subcommands. */
export const INFO: Readonly<Record<string, CommandInfo>> = {
  scan: {
    name: "deno task owq amq scan",
    summary: "How much each linear matters: all at the most bits, one at the least; divergence of the predictions.",
    options: { ...PROXY_OPTIONS, threshold: THRESHOLD, out: OUT, "dry-run": DRY, json: JSON_OPTION },
  },
  search: {
    name: "deno task owq amq search",
    summary:
      "Searches for the bits of each linear, for every average at once. Ctrl-C or worse loses nothing: run it again.",
    options: {
      ...PROXY_OPTIONS,
      way: { value: WAYS.join("|"), help: "how; amq by default, the others to compare with" },
      name: { value: "NAME", help: "of its files in DIR; the way by default" },
      initial: { value: "N", help: "evaluations before the first prediction; 60 by default" },
      rounds: { value: "N", help: "20 by default" },
      candidates: { value: "N", help: "evaluations a round; 8 by default" },
      logarithm: { help: "fit the predictor to the logarithm of divergence: ours, not AMQ's" },
      predictor: { value: "rbf|mlp", help: "rbf by default" },
      least: { value: "B", help: "only averages of at least B bits, scales and zero points included" },
      most: { value: "B", help: "only averages of at most B bits" },
      stride: { value: "N", help: "greedy: how many places of --bits a step goes down; 1 by default" },
      threshold: THRESHOLD,
      out: OUT,
      begin: { help: "only note what is to be searched in DIR, for `owq amq ask` on this machine or others" },
      "dry-run": DRY,
      json: JSON_OPTION,
    },
  },
  ask: {
    name: "deno task owq amq ask",
    summary: "Takes in what `owq amq evaluate` left in DIR/lines and says what is to be evaluated next, in a file.",
    options: {
      out: OUT,
      name: {
        value: "NAME",
        help: "scan, or a search that was begun in DIR; amq by default",
      },
      json: JSON_OPTION,
    },
  },
  evaluate: {
    name: "deno task owq amq evaluate",
    summary:
      "Evaluates the points of a round, or one part of them: a line each. Lines of all parts, joined, are the round's.",
    positionals: "FILE",
    options: {
      shard: { value: "I/N", help: "only the I-th of N parts" },
      lines: { value: "FILE", help: "where lines go; beside FILE, in lines/, by default" },
      "local-copy": RECIPE_OPTIONS["local-copy"],
      json: JSON_OPTION,
    },
  },
  ray: {
    name: "deno task owq amq ray",
    summary: "Runs a study's scan and search on Ray: on a cluster, or on so many processes of this machine.",
    options: {
      out: OUT,
      name: { value: "NAME", help: "archive to fill, in this order; scan and amq by default", multiple: true },
      workers: { value: "N", help: "shards a round; 2 by default" },
      address: {
        value: "URL",
        help: "of a running cluster, such as ray://head:10001; a local one is started by default",
      },
      kit: { value: "DIR", help: "folder of the kit on the cluster's nodes; this one's by default" },
      install: { help: "first put Ray into an environment of its own, some 300 MB, in the lab's cache" },
    },
    more:
      "The search must have been begun: deno task owq amq search --out DIR --begin. What ends it costs at most a round.",
  },
  models: {
    name: "deno task owq amq models",
    summary: "Final models at chosen averages, beside uniform bits at as many stored bits.",
    options: {
      targets: {
        value: "LIST",
        help: "average bits, scales included; three between the least and the most by default",
      },
      ...MODEL_OPTIONS,
      tolerance: { value: "B", help: `how far an average may lie below its target; ${TOLERANCE} by default` },
      "dry-run": { help: "choose configurations and write them, quantize nothing" },
      json: JSON_OPTION,
    },
  },
  fidelity: {
    name: "deno task owq amq fidelity",
    summary:
      "Whether the proxy orders configurations as final quantizers do: Spearman's and Kendall's rank correlation.",
    options: {
      count: { value: "N", help: "configurations, evenly over average bits; 12 by default" },
      ...MODEL_OPTIONS,
      "dry-run": { help: "list the models" },
      json: JSON_OPTION,
    },
    more: "Of a search the first sample is taken, which is random; `owq amq search --way random` makes more of them.",
  },
};

/** `owq amq --help`. */
export const HELP = helpText({
  name: "deno task owq amq",
  summary: "AMQ: which linear gets how many bits, by a search that quantizes nothing anew.",
  positionals: Object.keys(INFO).join("|"),
  options: {},
  more: [
    "  scan       how much each linear matters",
    "  search     the scan where it is missing, then the search; resumes by itself",
    "  models     final models by OPTQ, AWQ, OWQ from what was found",
    "  fidelity   whether what the search is judged by orders configurations as final quantizers do",
    "  ask, evaluate   the same search by several processes or machines, by hand",
    "  ray        the same search on a Ray cluster",
    "",
    "Each has --help.",
  ].join("\n"),
});
