import { LabError } from "../../io/errors.ts";
import { importCheckpoint } from "../checkpoint_import.ts";
import { runCommand } from "../command.ts";
import { progress } from "../progress.ts";

const INFO = {
  name: "deno task owq import",
  summary: "Turns a GPTQ or compressed-tensors checkpoint into the lab's packed folder, codes unchanged.",
  options: {
    model: { value: "SPEC", help: "a folder or hf:owner/name[@revision] of such a checkpoint" },
    out: { value: "DIR", help: "folder of the packed model" },
    json: { help: "one JSON object on standard output, nothing else" },
  },
  more: "To evaluate or generate no import is needed: --model takes such checkpoints as they are.",
};

/** `owq import`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const model = input.text("model"), out = input.text("out");
    if (model === undefined) throw new LabError("input", "--model", "is missing", "A folder or hf:owner/name.");
    if (out === undefined) throw new LabError("input", "--out", "is missing", "The folder of the packed model.");
    const bar = progress("importing", { total: 0, unit: "blocks" });
    const report = await importCheckpoint(model, out, {
      onProgress: bar.onProgress,
      onBlock: (done, total) => bar.onProgress({ what: "importing", done, total, unit: "blocks" }),
    });
    await bar.finish("done");
    if (input.on("json")) return console.log(JSON.stringify(report));
    console.log(
      `${report.out}: ${report.linears} linears from ${report.format}, ${report.storedBits.toFixed(4)} bits a weight`,
    );
  }, args);
}
