// PyTorch as a peer: one long-lived process over lines of JSON, so that its runs stand between ours.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LabError } from "../../io/errors.ts";
import { findProgram, runProcess } from "../process.ts";

/** A running Python with torch. */
export interface TorchPeer {
  /** Such as "torch 2.13.0 on Python 3.11.7, 2 threads". */
  readonly description: string;
  /** Hands a matrix over under a name. */
  load(name: string, data: Float32Array | Uint8Array, shape: readonly number[]): Promise<void>;
  /** A result of the other side as bytes. */
  take(name: string): Promise<ArrayBuffer>;
  /** One of the functions of lib/lab/python/bench_peer.py; its answer's numbers. */
  ask(work: string, request: Readonly<Record<string, unknown>>): Promise<Record<string, number>>;
  close(): Promise<void>;
}

const HOW = "Set OWQ_TORCH_PYTHON to a Python that imports torch and numpy";

/** What to do to have torch in the table, for its notes. */
export const TORCH_HINT = `${HOW} (pip install torch numpy).`;

/**
 * Opens the torch peer: the Python of OWQ_TORCH_PYTHON, else python3 or python where it imports torch.
 *
 * @param threads for torch; as many as the machine has cores.
 * @returns null where no Python has torch.
 * @throws LabError of kind "input" when OWQ_TORCH_PYTHON is set and has none.
 */
export async function openTorch(threads: number = navigator.hardwareConcurrency): Promise<TorchPeer | null> {
  const named = Deno.env.get("OWQ_TORCH_PYTHON");
  const python = named ?? await findProgram(["python3", "python"]);
  if (!python) return null;
  const probe = await runProcess([python, "-c", "import torch, numpy"]).catch(() => null);
  if (probe?.code !== 0) {
    if (named === undefined) return null;
    throw new LabError(
      "input",
      "OWQ_TORCH_PYTHON",
      `${named} does not import torch and numpy`,
      "pip install torch numpy",
    );
  }
  const folder = await Deno.makeTempDir({ prefix: "owq-bench-" });
  const script = fileURLToPath(new URL("../python/bench_peer.py", import.meta.url));
  const child = new Deno.Command(python, { args: ["-u", script], stdin: "piped", stdout: "piped", stderr: "inherit" })
    .spawn();
  const writer = child.stdin.getWriter(), lines = linesOf(child.stdout);
  let files = 0;
  const ask = async (work: string, request: Readonly<Record<string, unknown>>) => {
    await writer.write(new TextEncoder().encode(`${JSON.stringify({ do: work, ...request })}\n`));
    const { value, done } = await lines.next();
    const answer = done ? { error: "the process has ended" } : JSON.parse(value);
    if (typeof answer.error !== "string") return answer;
    throw new LabError("device", `torch, ${work}`, answer.error, `Its Python is ${python}.`);
  };
  const hello = await ask("hello", { threads });
  return {
    description: `torch ${hello.torch} on Python ${hello.python}, ${hello.threads} threads`,
    ask,
    async load(name, data, shape) {
      const path = join(folder, `${files++}`);
      await Deno.writeFile(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      await ask("load", { name, path, shape, dtype: data instanceof Uint8Array ? "uint8" : "float32" });
      await Deno.remove(path);
    },
    async take(name) {
      const path = join(folder, `${files++}`);
      await ask("save", { name, path });
      const bytes = await Deno.readFile(path);
      await Deno.remove(path);
      return bytes.buffer;
    },
    async close() {
      await writer.close().catch(() => {});
      await child.status;
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
