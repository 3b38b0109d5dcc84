// onnxruntime as a peer, on the CPU and, where its WebGPU takes the adapter, there too.
import { LabError } from "../../io/errors.ts";
import { onnxModel, type OnnxNode } from "./onnx_model.ts";

/** One node, ready to run. */
export interface OnnxRun {
  /** Runs it `repeats` times on the same input; the seconds of one. */
  run(repeats: number): Promise<number>;
  /** The output of the last run. */
  output(): Float32Array;
  close(): Promise<void>;
}

/** An onnxruntime in this process. */
export interface OnnxPeer {
  /** Such as "onnxruntime 1.30.0". */
  readonly description: string;
  /** Where it computes: "cpu", and "webgpu" where its own WebGPU accepts the adapter. */
  readonly providers: readonly string[];
  /** Why "webgpu" is not among them; "" where it is. */
  readonly refused: string;
  open(node: OnnxNode, x: Float32Array, provider: string): Promise<OnnxRun>;
}

/** What the few functions used here look like; the package's own types would have to be downloaded to be read. */
interface Runtime {
  readonly env: { readonly versions: { readonly node?: string; readonly common?: string } };
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<{
      run(feeds: Record<string, unknown>): Promise<Record<string, { data: Float32Array }>>;
      release(): Promise<void>;
    }>;
  };
  readonly Tensor: new (type: string, data: Float32Array, shape: readonly number[]) => unknown;
}

const PACKAGE = "npm:onnxruntime-node@1.30.0";

/** What to do to have onnxruntime in the table, for its notes. */
export const ONNX_HINT = "deno task bench downloads npm:onnxruntime-node (110 MB) when it needs it: check the network.";

/**
 * Opens onnxruntime.
 *
 * The package stands in no import map and no lock file, and its name is a value: Deno fetches what a lock file lists for
 * any command, and `deno task start` shall not download its 110 MB. `deno task bench` runs without the lock file for it.
 *
 * @param threads for its CPU kernels.
 * @throws LabError of kind "network" where the package cannot be had.
 */
export async function openOnnx(threads: number = navigator.hardwareConcurrency): Promise<OnnxPeer> {
  let runtime: Runtime;
  try {
    const module = await import(PACKAGE);
    runtime = module.default ?? module;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new LabError("network", PACKAGE, message, ONNX_HINT, { cause });
  }
  const open = async (node: OnnxNode, x: Float32Array, provider: string): Promise<OnnxRun> => {
    const session = await runtime.InferenceSession.create(onnxModel(node), {
      executionProviders: [provider],
      intraOpNumThreads: threads,
      logSeverityLevel: 4,
    });
    const feeds = { [node.inputs[0].name]: new runtime.Tensor("float32", x, node.inputs[0].shape) };
    let last = new Float32Array(0);
    return {
      async run(repeats) {
        const begun = performance.now();
        for (let i = 0; i < repeats; i++) last = (await session.run(feeds)).y.data as Float32Array<ArrayBuffer>;
        return (performance.now() - begun) / 1000 / repeats;
      },
      output: () => last,
      close: () => session.release(),
    };
  };
  const refused = await tryWebGpu(open);
  return {
    description: `onnxruntime ${runtime.env.versions.node ?? runtime.env.versions.common ?? ""}`.trim(),
    providers: refused === "" ? ["cpu", "webgpu"] : ["cpu"],
    refused,
    open,
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
    const right = session.output()[3] === -4;
    await session.close();
    return right ? "" : "it gives wrong answers";
  } catch (e) {
    return (e instanceof Error ? e.message : String(e)).split("\n")[0].replace(/^.*was false\. /, "");
  }
}
