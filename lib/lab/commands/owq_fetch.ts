import { LabError } from "../../io/errors.ts";
import { openModel } from "../../io/open_model.ts";
import { runCommand } from "../command.ts";
import { progress } from "../progress.ts";

const INFO = {
  name: "deno task owq fetch",
  summary: "Brings a model into the cache, so that it is there without a network.",
  positionals: "SPEC",
  options: {},
  more: "SPEC: smollm2, hf:owner/name[@revision]. HF_ENDPOINT, HF_TOKEN and HF_HOME are honoured.",
};

/** `owq fetch`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async ({ positionals }) => {
    if (positionals.length !== 1) {
      throw new LabError("input", INFO.name, `${positionals.length} models named`, "Name one.");
    }
    const bar = progress(`fetching ${positionals[0]}`, { total: 0, unit: "bytes" });
    const files = await openModel(positionals[0], { onProgress: bar.onProgress });
    await bar.finish("done");
    const bytes = [...files.source.tensors.values()].reduce((a, t) => a + t.bytes, 0);
    console.log(
      `${files.label}: ${files.source.tensors.size} tensors, ${(bytes / 1e6).toFixed(1)} MB${
        files.note ? `; ${files.note}` : ""
      }`,
    );
    files.source.close();
  }, args);
}
