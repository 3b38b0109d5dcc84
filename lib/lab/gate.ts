// The gate: every check of the project in one run, with true counts at the end. Nothing else is called "passing".
import { LabError } from "../io/errors.ts";
import { checkCells } from "./cells.ts";
import { checkLedger } from "./claims_ledger.ts";
import { formatSeconds } from "./format.ts";
import { findNotebooks, runAndCompare } from "./notebooks.ts";
import { labPaths, shortPath } from "./paths.ts";
import { ensureJupyter } from "./setup.ts";

/** How many checks of a step held. */
export interface GateCount {
  readonly passed: number;
  readonly failed: number;
}

/** One step of the gate. */
export interface GateStep {
  readonly name: string;
  run(say: (line: string) => void): Promise<GateCount>;
}

/**
 * Runs steps one after another; one that throws counts as failed and the others still run.
 *
 * @param say hears what people read.
 * @returns the sum of the counts.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { runGate } from "./gate.ts";
 * const good = { name: "a", run: () => Promise.resolve({ passed: 3, failed: 0 }) };
 * const bad = { name: "b", run: () => Promise.reject(new Error("no")) };
 * assert.deepEqual(await runGate([bad, good], () => {}), { passed: 3, failed: 1 });
 * ```
 */
export async function runGate(steps: readonly GateStep[], say: (line: string) => void): Promise<GateCount> {
  const summary: string[] = [];
  let passed = 0, failed = 0;
  for (const step of steps) {
    say(`\n== ${step.name}`);
    const begun = performance.now();
    const count = await step.run(say).catch((e) => {
      say(e instanceof LabError ? e.message : e instanceof Error ? e.stack ?? e.message : String(e));
      return { passed: 0, failed: 1 };
    });
    passed += count.passed;
    failed += count.failed;
    const time = formatSeconds((performance.now() - begun) / 1000);
    summary.push(`${step.name}: ${count.passed} passed, ${count.failed} failed, ${time}`);
  }
  say("\n== summary");
  for (const line of summary) say(line);
  return { passed, failed };
}

/** The steps of `deno task ok`, quick ones first. */
export function gateSteps(): GateStep[] {
  const { root, notebooks } = labPaths();
  const deno = (name: string, ...args: string[]): GateStep => ({
    name,
    run: async (say) => {
      const ok = await runOnceMoreAfterSignal(args, root, say) === 0;
      return { passed: ok ? 1 : 0, failed: ok ? 0 : 1 };
    },
  });
  return [
    deno("format", "fmt", "--check", "--quiet"),
    deno("lint", "lint", "--quiet"),
    deno("types", "check", "--quiet", "lib", "tests"),
    {
      name: "notebook cells",
      run: (say) =>
        each(findNotebooks(notebooks), async (path) => {
          const problems = await checkCells(path);
          say(`${shortPath(path)}: ${problems.length === 0 ? "well" : problems.join("\n")}`);
          return problems.length === 0;
        }),
    },
    {
      name: "the ledger of claims",
      run: async (say) => {
        const problem = await checkLedger();
        say(problem ?? "agrees with its records");
        return problem === null ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
      },
    },
    tests("examples in the documentation", root, "--doc", "lib"),
    {
      name: "Python and Jupyter, which tests and notebooks need",
      run: async (say) => {
        await ensureJupyter({ onLine: say });
        return { passed: 1, failed: 0 };
      },
    },
    tests("tests", root, "tests"),
    {
      name: "notebooks",
      run: async (say) => {
        const jupyter = await ensureJupyter({ onLine: say });
        return await each(findNotebooks(notebooks), async (path) => {
          return (await runAndCompare(path, { jupyter, say })).problems.length === 0;
        });
      },
    },
  ];
}

async function each(paths: Promise<string[]>, check: (path: string) => Promise<boolean>): Promise<GateCount> {
  let passed = 0, failed = 0;
  for (const path of await paths) await check(path) ? passed++ : failed++;
  return { passed, failed };
}

/** `deno test` with its report as XML, for true counts; its own output goes through unchanged. */
function tests(name: string, root: string, ...args: string[]): GateStep {
  return {
    name,
    run: async (say) => {
      const report = await Deno.makeTempFile({ prefix: "owq-lab-", suffix: ".xml" });
      try {
        const code = await runOnceMoreAfterSignal(["test", "-A", `--junit-path=${report}`, ...args], root, say);
        const count = countJUnit(await Deno.readTextFile(report));
        // A module that does not load fails the run without a test case of its own.
        return { passed: count.passed, failed: code !== 0 && count.failed === 0 ? 1 : count.failed };
      } finally {
        await Deno.remove(report).catch(() => {});
      }
    },
  };
}

/**
 * Counts the test cases of a JUnit report; ignored ones are neither passed nor failed.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { countJUnit } from "./gate.ts";
 * const xml = `<testcase name="a"/><testcase name="b"><failure>x</failure></testcase><testcase name="c"><skipped/></testcase>`;
 * assert.deepEqual(countJUnit(xml), { passed: 1, failed: 1 });
 * ```
 */
export function countJUnit(xml: string): GateCount {
  let passed = 0, failed = 0;
  for (const m of xml.matchAll(/<testcase\b[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const inside = m[1] ?? "";
    if (/<(failure|error)\b/.test(inside)) failed++;
    else if (!/<skipped\b/.test(inside)) passed++;
  }
  return { passed, failed };
}

/**
 * Runs `deno` with its output going through; one that a signal ended runs once more, in words, and only then counts.
 *
 * A software Vulkan driver may corrupt its own heap while a process ends: seen once in about thirty runs of the examples,
 * after all of them had passed (SIGABRT, "corrupted size vs. prev_size", Mesa 22.3.6). An exit code is never asked twice.
 *
 * @param args of deno. @param cwd where. @param say hears of the second run.
 * @returns the exit code, 128 + number where a signal ended the second run too.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { runOnceMoreAfterSignal } from "./gate.ts";
 * assert.equal(await runOnceMoreAfterSignal(["eval", "Deno.exit(3)"], ".", () => {}), 3);
 * ```
 */
export async function runOnceMoreAfterSignal(
  args: readonly string[],
  cwd: string,
  say: (line: string) => void,
): Promise<number> {
  const run = () =>
    new Deno.Command(Deno.execPath(), { args: [...args], cwd, stdin: "null", stdout: "inherit", stderr: "inherit" })
      .spawn().status;
  const first = await run();
  if (first.signal === null) return first.code;
  say(`ENDED BY ${first.signal}, which no check of ours sends: the whole step runs once more`);
  return (await run()).code;
}
