import type { Method } from "../../methods/method.ts";
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
    const rows = [...METHODS.values()].map(({ quantizeLayer: _, stored: __, candidates: ___, ...row }) => row);
    if (input.on("json")) console.log(JSON.stringify({ methods: rows }));
    else {
      for (const m of METHODS.values()) {
        console.log(`${m.name}  ${m.title}`);
        console.log(`  bits a weight  ${m.storage}`);
        console.log(`  needs          ${needsOf(m)}`);
        console.log(`  targets        ${targetsOf(m)}`);
        console.log(`  options        ${Object.entries(m.defaults).map(([k, v]) => `${k}=${v}`).join(" ")}`);
        console.log(`  source         ${m.source}\n`);
      }
    }
    return Promise.resolve();
  }, args);
}

function needsOf({ needs }: Method): string {
  const parts = [
    needs.hessian ? "second moments" : "",
    needs.inputs ? "inputs of the linears" : "",
    needs.gradient ? "gradients" : "",
  ].filter(Boolean);
  return parts.length > 0 ? `calibration text, for ${parts.join(" and ")}` : "nothing but the weights";
}

function targetsOf(m: Method): string {
  if (!m.nominal) return "stored bits, such as 3.1; options that are 0 are solved for them";
  const nominal = m.weakColumns ? "nominal bits, such as 3.01, weak columns included" : "whole bits a code";
  return `${nominal}; with --budget stored, stored bits`;
}
