// Other programs: run them, hear their lines while they run, and never leave one behind.

/** How a program ended. */
export interface ProcessResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What to run and who listens. */
export interface ProcessOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** Called with each whole line of standard output, without its line end. */
  readonly onLine?: (line: string) => void;
  /** Called with each whole line of standard error. */
  readonly onErrorLine?: (line: string) => void;
  /** Ends the program with SIGTERM when it aborts. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a program to its end and keeps both of its outputs.
 *
 * @param command the program and its arguments.
 * @returns the exit code (143 after an abort) and both outputs as text.
 * @throws Deno.errors.NotFound when there is no such program.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { runProcess } from "./process.ts";
 * const r = await runProcess([Deno.execPath(), "eval", "console.log(6 * 7)"]);
 * assert.equal(r.stdout.trim(), "42");
 * ```
 */
export async function runProcess(command: readonly string[], o: ProcessOptions = {}): Promise<ProcessResult> {
  const child = new Deno.Command(command[0], {
    args: command.slice(1),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...(o.cwd === undefined ? {} : { cwd: o.cwd }),
    ...(o.env === undefined ? {} : { env: o.env }),
  }).spawn();
  const stop = () => {
    try {
      child.kill("SIGTERM");
    } catch { /* it has ended already */ }
  };
  o.signal?.addEventListener("abort", stop, { once: true });
  if (o.signal?.aborted) stop();
  try {
    const [stdout, stderr, status] = await Promise.all([
      readLines(child.stdout, o.onLine),
      readLines(child.stderr, o.onErrorLine),
      child.status,
    ]);
    return { code: status.code, stdout, stderr };
  } finally {
    o.signal?.removeEventListener("abort", stop);
  }
}

async function readLines(stream: ReadableStream<Uint8Array>, onLine?: (line: string) => void): Promise<string> {
  let text = "", seen = 0;
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf("\n", seen); end >= 0; end = text.indexOf("\n", seen)) {
      onLine?.(text.slice(seen, end));
      seen = end + 1;
    }
  }
  text += decoder.decode();
  if (seen < text.length) onLine?.(text.slice(seen));
  return text;
}

/**
 * Finds a program on PATH.
 *
 * @param names tried in this order.
 * @returns its absolute path, or null.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { findProgram } from "./process.ts";
 * assert.equal(await findProgram(["no-such-program-anywhere"]), null);
 * ```
 */
export async function findProgram(names: readonly string[]): Promise<string | null> {
  const windows = Deno.build.os === "windows";
  const folders = (Deno.env.get("PATH") ?? "").split(windows ? ";" : ":").filter((f) => f !== "");
  for (const name of names) {
    for (const folder of folders) {
      for (const ending of windows ? [".exe", ".cmd"] : [""]) {
        const path = `${folder}/${name}${ending}`;
        const info = await Deno.stat(path).catch(() => null);
        if (info?.isFile) return path;
      }
    }
  }
  return null;
}
