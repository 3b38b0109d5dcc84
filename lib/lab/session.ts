// What the first cell of a notebook opens: parameters, guards against errors that a kernel would swallow, and the record at the end.
import { join } from "node:path";
import { LabError } from "../io/errors.ts";
import { openScreen, type Screen, show } from "./display.ts";
import { labPaths, shortPath } from "./paths.ts";
import { record, type RecordedNumber, recordFile, recordFolder, type RecordValue } from "./record.ts";
import { sideBySide, storedRecords } from "./side_by_side.ts";

/** A running notebook. */
export interface NotebookSession {
  readonly name: string;
  /** The SPEC of the model, from `--model` or the environment variable OWQ_MODEL; "fixture" by default. */
  readonly model: string;
  /**
   * A number, text or switch one may change: what the environment says (`bits` is OWQ_BITS), else the value given here.
   * Declare the variable with `var`, so that the cell can run again.
   */
  parameter<T extends number | string | boolean>(name: string, standard: T): Widened<T>;
  /** Shows errors that the GPU reports on its own, which would otherwise leave zeros and no word. */
  watchDevice(device: EventTarget): void;
  /** Writes the side file; throws when an error was swallowed before, for its numbers cannot be trusted. */
  record(
    numbers: Readonly<Record<string, RecordedNumber>>,
    provenance?: Readonly<Record<string, unknown>>,
  ): Promise<void>;
}

/** `3` is a number, not the literal 3: a parameter is there to be changed. */
export type Widened<T> = T extends number ? number : T extends string ? string : boolean;

/**
 * Starts a notebook: installs the guards and reads the model from the environment.
 *
 * @param name the notebook's file name without its ending; its record has the same.
 * @param o for tests: the environment and where messages go.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { startNotebook } from "./session.ts";
 * const lab = startNotebook("03-owq", { environment: (name) => name === "OWQ_BITS" ? "4" : undefined });
 * assert.equal(lab.parameter("bits", 3), 4);
 * assert.equal(lab.parameter("seed", 1), 1);
 * ```
 */
export function startNotebook(
  name: string,
  o: { environment?: (name: string) => string | undefined; screen?: Screen } = {},
): NotebookSession {
  const environment = o.environment ?? ((key: string) => Deno.env.get(key));
  const screen = o.screen ?? openScreen(), begun = performance.now();
  const parameters: Record<string, RecordValue> = {}, swallowed: string[] = [];
  const model = environment("OWQ_MODEL") ?? "fixture";
  const complain = (what: string, reason: unknown) => {
    const text = `${what}: ${reason instanceof Error ? reason.stack ?? reason.message : String(reason)}`;
    swallowed.push(text.split("\n")[0]);
    screen.put({ "text/plain": text }).catch(() => {});
  };
  if (screen.kind === "notebook") watchRejections((reason) => complain("unhandled rejection", reason));
  return {
    name,
    model,
    parameter(key, standard) {
      const value = readParameter(key, standard, environment(environmentName(key)));
      parameters[key] = value;
      return value as Widened<typeof standard>;
    },
    watchDevice(device) {
      device.addEventListener("uncapturederror", (event) => {
        complain("the GPU reports", (event as Event & { error?: { message: string } }).error?.message ?? event.type);
      });
    },
    async record(numbers, provenance) {
      if (swallowed.length > 0) {
        throw new LabError(
          "numeric",
          `record ${name}`,
          `not written, an earlier cell failed unnoticed (${swallowed[0]})`,
          "Restart the kernel and run all cells.",
        );
      }
      const seconds = (performance.now() - begun) / 1000;
      await record(name, numbers, { model, parameters, provenance: { seconds, ...provenance } });
      const path = shortPath(join(recordFolder(), recordFile(name, model)));
      await screen.put({ "text/plain": `${Object.keys(numbers).length} numbers recorded in ${path}` });
      const beside = sideBySide({ model, parameters, numbers }, await storedRecords(name, labPaths().storedRecords));
      if (beside) await show(beside, screen);
      await screen.drain();
    },
  };
}

/**
 * The environment variable of a parameter: `calibSamples` and `calib-samples` are OWQ_CALIB_SAMPLES.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { environmentName } from "./session.ts";
 * assert.equal(environmentName("calibSamples"), "OWQ_CALIB_SAMPLES");
 * ```
 */
export function environmentName(parameter: string): string {
  return `OWQ_${parameter.replace(/([a-z0-9])([A-Z])/g, "$1_$2").replaceAll("-", "_").toUpperCase()}`;
}

function readParameter(name: string, standard: number | string | boolean, text: string | undefined) {
  if (text === undefined) return standard;
  const wrong = (kind: string) =>
    new LabError("input", environmentName(name), `"${text}" is not ${kind}`, `Its standard value is ${standard}.`);
  if (typeof standard === "number") {
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value)) throw wrong("a number");
    return value;
  }
  if (typeof standard === "boolean") {
    if (text !== "true" && text !== "false") throw wrong("true or false");
    return text === "true";
  }
  return text;
}

type Watcher = EventTarget & { owqLabStop?: AbortController };

/** The kernel prints nothing for them. A cell that runs again replaces its own listener instead of adding one. */
function watchRejections(report: (reason: unknown) => void): void {
  const target: Watcher = globalThis;
  target.owqLabStop?.abort();
  target.owqLabStop = new AbortController();
  target.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    report((event as PromiseRejectionEvent).reason);
  }, { signal: target.owqLabStop.signal });
}
