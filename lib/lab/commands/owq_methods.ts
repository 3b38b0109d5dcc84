import { METHODS } from "../../methods/table.ts";
import { runCommand } from "../command.ts";

const INFO = {
  name: "deno task owq methods",
  summary: "The table of methods.",
  options: { json: { help: "one JSON object on standard output" } },
};

/** `owq methods`: name, storage formula, needs, options, source. */
export function main(args: readonly string[]): Promise<never> {
  return runCommand(INFO, (input) => {
    const rows = [...METHODS.values()].map(({ quantizeLayer: _, ...row }) => row);
    if (input.on("json")) console.log(JSON.stringify({ methods: rows }));
    else {
      for (const m of rows) {
        console.log(`${m.name}  ${m.title}`);
        console.log(`  bits a weight  ${m.storage}`);
        console.log(`  needs          ${m.needs.hessian ? "calibration text" : "nothing but the weights"}`);
        console.log(`  targets        ${m.weakColumns ? "any, such as 3.01" : "whole bits"}`);
        console.log(`  options        ${Object.entries(m.defaults).map(([k, v]) => `${k}=${v}`).join(" ")}`);
        console.log(`  source         ${m.source}\n`);
      }
    }
    return Promise.resolve();
  }, args);
}
