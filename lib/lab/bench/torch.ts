// PyTorch as a peer: one long-lived process, so that its runs stand between ours.
import { fileURLToPath } from "node:url";
import { LabError } from "../../io/errors.ts";
import { findProgram, runProcess } from "../process.ts";
import { openLineProcess } from "./line_process.ts";

/** A running Python with torch. */
export interface TorchPeer {
  /** Such as "torch 2.13.0 on Python 3.11.7, 2 threads". */
  readonly description: string;
  /** Hands a matrix over under a name. */
  load(name: string, data: Float32Array<ArrayBuffer>, shape: readonly number[]): Promise<void>;
  /** A result of the other side as bytes. */
  take(name: string): Promise<ArrayBuffer>;
  /** One of the functions of lib/lab/python/bench_peer.py; its answer's numbers. */
  ask(work: string, request: Readonly<Record<string, unknown>>): Promise<Record<string, number>>;
  close(): Promise<void>;
}

/** What to do to have torch in the table, for its notes. */
export const TORCH_HINT = "Set OWQ_TORCH_PYTHON to a Python that imports torch and numpy (pip install torch numpy).";

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
      "Try pip install torch numpy.",
    );
  }
  const script = fileURLToPath(new URL("../python/bench_peer.py", import.meta.url));
  const peer = await openLineProcess("torch", [python, "-u", script]);
  const hello = await peer.ask("hello", { threads });
  return {
    description: `torch ${hello.torch} on Python ${hello.python}, ${hello.threads} threads`,
    ask: async (work, request) => await peer.ask(work, request) as Record<string, number>,
    load: (name, data, shape) =>
      peer.hand(data, async (path) => void await peer.ask("load", { name, path, shape, dtype: "float32" })),
    take: (name) => peer.fetch((path) => peer.ask("save", { name, path })),
    close: () => peer.close(),
  };
}
