// onnxruntime as a peer, on the CPU and, where its WebGPU takes the adapter, there too.
import { fileURLToPath } from "node:url";
import { LabError } from "../../io/errors.ts";
import { openLineProcess } from "./line_process.ts";
import { onnxModel, type OnnxNode } from "./onnx_model.ts";

/** One node, ready to run. */
export interface OnnxRun {
  /** Runs it `repeats` times on the same input; the seconds of one. */
  run(repeats: number): Promise<number>;
  /** The output of the last run. */
  output(): Promise<Float32Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** A running onnxruntime. */
export interface OnnxPeer {
  /** Such as "onnxruntime 1.30.0, 2 threads". */
  readonly description: string;
  /** Where it computes: "cpu", and "webgpu" where its own WebGPU accepts the adapter. */
  readonly providers: readonly string[];
  /** Why "webgpu" is not among them; "" where it is. */
  readonly refused: string;
  open(node: OnnxNode, x: Float32Array<ArrayBuffer>, provider: string): Promise<OnnxRun>;
  close(): Promise<void>;
}

/** Pinned here: it stands in no lock file, since Deno fetches whatever that lists for any command, and this is 110 MB. */
const PACKAGE = "npm:onnxruntime-node@1.30.0";

/** What to do to have onnxruntime in the table, for its notes. */
export const ONNX_HINT = "It is downloaded from npm (110 MB) when a row wants it: check the network.";

/**
 * Opens onnxruntime in a process of its own, without the lock file of this clone.
 *
 * @param threads for its CPU kernels.
 * @throws LabError of kind "network" where the package cannot be had.
 */
export async function openOnnx(threads: number = navigator.hardwareConcurrency): Promise<OnnxPeer> {
  const script = fileURLToPath(new URL("onnx_child.ts", import.meta.url));
  const flags = ["run", "--no-lock", "--no-config", "--quiet", "-A"];
  const peer = await openLineProcess("onnxruntime", [Deno.execPath(), ...flags, script]);
  let version: unknown;
  try {
    ({ version } = await peer.ask("hello", { package: PACKAGE, threads }));
  } catch (cause) {
    await peer.close();
    if (!(cause instanceof LabError)) throw cause;
    throw new LabError("network", PACKAGE, cause.problem, ONNX_HINT, { cause });
  }
  const open = async (node: OnnxNode, x: Float32Array<ArrayBuffer>, provider: string): Promise<OnnxRun> => {
    const { name, shape } = node.inputs[0];
    const { id } = await peer.hand(
      onnxModel(node),
      (model) => peer.hand(x, (input) => peer.ask("open", { model, input, name, shape, provider })),
    );
    return {
      run: async (repeats) => (await peer.ask("run", { id, repeats })).seconds as number,
      output: async () => new Float32Array(await peer.fetch((path) => peer.ask("save", { id, path }))),
      close: async () => void await peer.ask("close", { id }),
    };
  };
  const refused = await tryWebGpu(open);
  return {
    description: `onnxruntime ${version}, ${threads} threads`,
    providers: refused === "" ? ["cpu", "webgpu"] : ["cpu"],
    refused,
    open,
    close: () => peer.close(),
  };
}

/** Why its WebGPU does not run here; "" where it does. */
async function tryWebGpu(open: OnnxPeer["open"]): Promise<string> {
  const node: OnnxNode = {
    operator: "Neg",
    domain: "",
    attributes: {},
    inputs: [{ name: "x", shape: [1, 4] }],
    constants: [],
    output: [1, 4],
  };
  try {
    const session = await open(node, Float32Array.of(1, 2, 3, 4), "webgpu");
    await session.run(1);
    const right = (await session.output())[3] === -4;
    await session.close();
    return right ? "" : "it gives wrong answers";
  } catch (e) {
    if (!(e instanceof LabError)) throw e;
    return e.problem.replace(/^.*was false\. /, "");
  }
}
