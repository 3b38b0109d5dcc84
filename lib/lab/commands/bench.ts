// deno task bench: our kernels beside the device's limits and their peers, in one run.
import { LabError } from "../../io/errors.ts";
import { BENCH_TASKS } from "../bench/rows.ts";
import { failedRows, PEERS, runBench } from "../bench/run.ts";
import { benchHead, benchNotes, benchTable } from "../bench/text.ts";
import { runCommand } from "../command.ts";
import { progress } from "../progress.ts";
import { tableText } from "../table.ts";

const INFO = {
  name: "deno task bench",
  summary: "The performance table: our kernels beside the limits of the device and their peers, in one run.",
  options: {
    only: { value: "NAME", help: "just the rows of that name; may be repeated", multiple: true },
    quick: { help: "small layers and few repeats: shows that it runs, not how fast it is" },
    model: { value: "SPEC", help: "for the rows that need a model: fixture (default), smollm2, a folder, …" },
    peers: { value: "LIST", help: `which to look for, of ${PEERS.join(",")}; "" for none` },
    seed: { value: "N", help: "of the random matrices (0)" },
    json: { help: "one JSON object on standard output, nothing else" },
  },
  more: [
    "Rows:",
    ...BENCH_TASKS.map((t) => `  ${t.name.padEnd(16)}  ${t.about}`),
    "",
    "Peers: jax-js is part of the kit. torch is taken from the Python of OWQ_TORCH_PYTHON, else from python3 where it has it.",
    "onnxruntime is downloaded from npm (110 MB) the first time a row wants it.",
    "A machine with other work on it gives ratios with a wide spread: read the column ± before the ratio.",
  ].join("\n"),
};

await runCommand(INFO, async (input) => {
  const peers = input.text("peers")?.split(",").map((p) => p.trim()).filter((p) => p !== "");
  for (const p of peers ?? []) {
    if ((PEERS as readonly string[]).includes(p)) continue;
    throw new LabError("input", `--peers ${p}`, "is no peer", `Peers: ${PEERS.join(", ")}.`);
  }
  const seed = Number(input.text("seed") ?? 0);
  if (!Number.isInteger(seed)) throw new LabError("input", `--seed ${input.text("seed")}`, "is not a whole number");
  const model = input.text("model"), bar = progress("bench", { total: 0, unit: "parts" });
  const report = await runBench({
    only: input.all("only"),
    quick: input.on("quick"),
    seed,
    ...(model === undefined ? {} : { model }),
    ...(peers === undefined ? {} : { peers }),
    onProgress: bar.onProgress,
  });
  await bar.finish(`${report.rows.length} rows`);
  if (input.on("json")) console.log(JSON.stringify(report));
  else {
    for (const line of benchHead(report)) console.log(line);
    const t = benchTable(report.rows);
    console.log(`\n${tableText(t)}\n${t.caption}\n`);
    for (const line of benchNotes(report.rows)) console.log(line);
  }
  return failedRows(report).length > 0 ? 1 : 0;
});
