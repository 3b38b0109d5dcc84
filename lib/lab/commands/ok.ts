import { LabError } from "../../io/errors.ts";
import { runCommand } from "../command.ts";
import { gateSteps, runGate } from "../gate.ts";

const steps = gateSteps();
const info = {
  name: "deno task ok",
  summary: `The gate: ${steps.map((s) => s.name).join(", ")}. Its last line is "N passed, N failed".`,
  options: { skip: { value: "STEP", help: "leave a step out, such as notebooks; may be repeated", multiple: true } },
};

await runCommand(info, async (input) => {
  const skip = input.all("skip");
  for (const name of skip) {
    if (steps.some((s) => s.name === name)) continue;
    throw new LabError("input", `--skip ${name}`, "is no step", `Steps: ${steps.map((s) => s.name).join(", ")}.`);
  }
  const count = await runGate(steps.filter((s) => !skip.includes(s.name)), console.log);
  console.log(`${count.passed} passed, ${count.failed} failed`);
  return count.failed > 0 || count.passed === 0 ? 1 : 0;
});
