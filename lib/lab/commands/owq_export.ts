import { LabError } from "../../io/errors.ts";
import { CHECKPOINT_FORMATS } from "../checkpoint_config.ts";
import { exportCheckpoint, refusePacked } from "../checkpoint_export.ts";
import { runCommand } from "../command.ts";
import { progress } from "../progress.ts";
import { saveFolder } from "../save.ts";
import { number } from "./owq_options.ts";

const FORMATS = [...CHECKPOINT_FORMATS, "hf"] as const;

const INFO = {
  name: "deno task owq export",
  summary:
    "Writes a packed model as a checkpoint that other tools load: GPTQ or compressed-tensors with the codes unchanged.",
  options: {
    model: { value: "PACKED", help: "a folder that `owq quantize` or `owq import` wrote" },
    format: { value: FORMATS.join("|"), help: "the checkpoint's format; hf: plain weights, dequantized to float32" },
    out: { value: "DIR", help: "folder of the checkpoint" },
    "scale-bits": { value: "16|32", help: "bits of a scale: 16 for GPTQ, as stored for compressed-tensors by default" },
    json: { help: "one JSON object on standard output, nothing else" },
  },
  more: [
    "Neither GPTQ nor compressed-tensors has a place for weak columns. Models with them stay in the lab's packed folder,",
    "whose layout is written down in lib/lab/PACKED.md, or become plain weights: --format hf.",
    "Scales of 32 bits are rounded for GPTQ; quantize with --set scaleBits=16 to have the same model on both sides.",
  ].join("\n"),
};

/** `owq export`. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, async (input) => {
    const given = (name: string, hint: string) => {
      const value = input.text(name);
      if (value === undefined) throw new LabError("input", `--${name}`, "is missing", hint);
      return value;
    };
    const model = given("model", "A folder that `owq quantize --out DIR` wrote."),
      out = given("out", "The new folder.");
    const wanted = given("format", `It takes ${FORMATS.join(", ")}.`);
    const format = FORMATS.find((f) => f === wanted);
    if (!format) throw new LabError("input", "--format", `"${wanted}"`, `It takes ${FORMATS.join(", ")}.`);
    if (format === "hf") {
      await refusePacked(out);
      await saveFolder(model, out);
      return console.log(
        input.on("json") ? JSON.stringify({ format, out }) : `${out}: plain weights, dequantized to float32`,
      );
    }
    const bits = number(input, "scale-bits");
    if (bits !== undefined && bits !== 16 && bits !== 32) {
      throw new LabError("input", "--scale-bits", `"${bits}"`, "It takes 16 or 32.");
    }
    const bar = progress("looking at every layer", { total: 0, unit: "linears" });
    const report = await exportCheckpoint(model, {
      out,
      format,
      ...(bits === undefined ? {} : { scaleBits: bits }),
      onProgress: (done, total) => bar.onProgress({ what: "looking at every layer", done, total, unit: "linears" }),
    });
    await bar.finish("done");
    if (input.on("json")) return console.log(JSON.stringify(report));
    const { scheme: s } = report;
    console.log(
      `${report.out}: ${report.linears} linears as ${format}, ${s.bits} bits, ` +
        `${s.groupSize > 0 ? `groups of ${s.groupSize}` : "one scale a row"}, ${s.symmetric ? "" : "a"}symmetric` +
        `${s.actOrder ? ", act-order" : ""}, scales of ${report.scaleBits} bits`,
    );
    console.log(
      report.scaleChange === 0
        ? "codes, zero points and scales are the lab's own"
        : `codes and zero points are the lab's own; scales changed by at most ${
          report.scaleChange.toExponential(2)
        } of themselves`,
    );
    for (const note of report.notes) console.log(`note: ${note}`);
  }, args);
}
