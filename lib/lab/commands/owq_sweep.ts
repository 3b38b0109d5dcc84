import { LabError } from "../../io/errors.ts";
import { type CommandInfo, runCommand } from "../command.ts";
import { labPaths, shortPath } from "../paths.ts";
import { progress } from "../progress.ts";
import { recipeCommand } from "../recipe_command.ts";
import { progressNote, readShard, runSweep, shardOf, sweepTable } from "../sweep.ts";
import { readSweep } from "../sweep_file.ts";
import { tableText } from "../table.ts";
import { device, DEVICES } from "./owq_options.ts";

const INFO: CommandInfo = {
  name: "deno task owq sweep",
  summary: "A grid of experiments from a JSON file; what is finished is not done again.",
  positionals: "FILE",
  options: {
    shard: { value: "I/N", help: "only the I-th of N parts; the lines of all parts, joined, are those of the whole" },
    out: { value: "DIR", help: "runs go to DIR/runs, result lines to DIR/sweeps; out/ by default" },
    device: { value: DEVICES.join("|"), help: "where the kernels run; auto by default" },
    "local-copy": { value: "FILE", help: "a local copy of a text that otherwise comes from the hub" },
    "dry-run": { help: "list the cells and their commands" },
    json: { help: "one JSON object on standard output, nothing else" },
  },
  more:
    "Ctrl-C keeps finished cells and blocks: the same command goes on. The form of FILE: lib/lab/sweep_file.ts; examples:\n" +
    "notebooks/sweeps.",
};

/** `owq sweep`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const [path, ...rest] = input.positionals, json = input.on("json");
    if (path === undefined || rest.length > 0) {
      throw new LabError("input", INFO.name, `takes one FILE, not ${input.positionals.length}`, "See --help.");
    }
    const text = await Deno.readTextFile(path).catch((cause) => {
      throw new LabError("storage", path, "cannot be read", "Give the path of a sweep's JSON file.", { cause });
    });
    const sweep = readSweep(text, path), shardText = input.text("shard");
    const shard = shardText === undefined ? { index: 1, count: 1 } : readShard(shardText);
    const cells = shardOf(sweep.cells, shard);
    if (input.on("dry-run")) {
      if (json) console.log(JSON.stringify({ sweep: sweep.name, shard, cells }));
      else for (const c of cells) console.log(`${c.cell}  ${c.label}\n   ${recipeCommand(c.recipe)}`);
      return;
    }
    const bar = progress(sweep.name, { total: cells.length, unit: "cells" }), stop = new AbortController();
    Deno.addSignalListener("SIGINT", () => {
      if (stop.signal.aborted) Deno.exit(130);
      stop.abort();
      console.error("\nstopping after this layer (Ctrl-C again: at once); finished cells and blocks are kept");
    });
    let running = "", done = 0, ready = 0;
    const localCopy = input.text("local-copy");
    try {
      const { lines, file } = await runSweep(sweep, {
        shard,
        ...(input.text("out") === undefined ? {} : { out: input.text("out")! }),
        ...(localCopy === undefined ? {} : { localCopy }),
        device: device(input.text("device")),
        signal: stop.signal,
        onCell: (finished, todo, label) => {
          [running, done] = [label, finished];
          bar.onProgress({ what: sweep.name, done: finished, total: todo, unit: "cells" });
        },
        onProgress: (p) => bar.update(done, progressNote(running, p)),
        onReport: () => void ready++,
      });
      await bar.finish();
      if (json) console.log(JSON.stringify({ sweep: sweep.name, shard, cells: sweep.cells.length, file, lines }));
      else console.log(`${tableText(sweepTable(lines))}\n\nlines: ${shortPath(file)}`);
    } catch (e) {
      await bar.finish("stopped");
      if (!stop.signal.aborted) throw e;
      const where = shortPath(input.text("out") ?? labPaths().out);
      console.error(`Stopped with ${ready} of ${cells.length} cells in ${where}. Go on with the same command.`);
      return 130;
    }
  }, args);
}
