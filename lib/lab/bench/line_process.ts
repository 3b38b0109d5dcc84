// A peer in a process of its own: a request is one line of JSON, an answer too; matrices go through files.
import { join } from "node:path";
import { LabError } from "../../io/errors.ts";

/** A running peer. */
export interface LineProcess {
  /** Sends a request; its answer's fields. @throws LabError with the peer's own words where it answers with an error. */
  ask(work: string, request: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>;
  /** Writes bytes to a file, lets `use` send its path, removes it. */
  hand<T>(data: ArrayBufferView<ArrayBuffer>, use: (path: string) => Promise<T>): Promise<T>;
  /** Lets `use` send the path of a file that the peer writes; its bytes. */
  fetch(use: (path: string) => Promise<unknown>): Promise<ArrayBuffer>;
  /** Ends its input and waits for it. */
  close(): Promise<void>;
}

/**
 * Starts a peer that reads requests {"do": …} line by line and answers each with one line.
 *
 * @param name for messages, such as "torch". @param command the program and its arguments.
 * @throws Deno.errors.NotFound where there is no such program.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openLineProcess } from "./line_process.ts";
 * const echo = `for await (const part of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) console.log(part.trim());`;
 * const peer = await openLineProcess("echo", [Deno.execPath(), "eval", echo]);
 * assert.deepEqual(await peer.ask("think", { of: 3 }), { do: "think", of: 3 });
 * await peer.close();
 * ```
 */
export async function openLineProcess(name: string, command: readonly string[]): Promise<LineProcess> {
  const child = new Deno.Command(command[0], {
    args: command.slice(1),
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const folder = await Deno.makeTempDir({ prefix: "owq-bench-" });
  const writer = child.stdin.getWriter(), lines = linesOf(child.stdout);
  let files = 0;
  return {
    async ask(work, request) {
      await writer.write(new TextEncoder().encode(`${JSON.stringify({ do: work, ...request })}\n`)).catch(() => {});
      const { value, done } = await lines.next();
      const answer = done ? { error: "the process has ended" } : JSON.parse(value);
      if (typeof answer.error !== "string") return answer;
      throw new LabError("device", `${name}, ${work}`, answer.error, `It runs in ${command[0]}.`);
    },
    async hand(data, use) {
      const path = join(folder, `${files++}`);
      await Deno.writeFile(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      try {
        return await use(path);
      } finally {
        await Deno.remove(path);
      }
    },
    async fetch(use) {
      const path = join(folder, `${files++}`);
      await use(path);
      const bytes = await Deno.readFile(path);
      await Deno.remove(path);
      return bytes.buffer;
    },
    async close() {
      await writer.close().catch(() => {});
      await child.status;
      await lines.return(undefined);
      await Deno.remove(folder, { recursive: true }).catch(() => {});
    },
  };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}
