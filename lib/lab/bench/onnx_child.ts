// The process of the onnxruntime peer (onnx.ts starts it): a line of JSON in, a line out. It imports nothing of this repository.

/** What the few functions used here look like; the package's own types would have to be downloaded to be read. */
interface Runtime {
  readonly env: { readonly versions: { readonly node?: string; readonly common?: string } };
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<Session>;
  };
  readonly Tensor: new (type: string, data: Float32Array, shape: readonly number[]) => unknown;
}

interface Session {
  run(feeds: Record<string, unknown>): Promise<Record<string, { data: Float32Array }>>;
  release(): Promise<void>;
}

interface Request {
  readonly do: "hello" | "open" | "run" | "save" | "close";
  readonly package: string;
  readonly threads: number;
  readonly model: string;
  readonly input: string;
  readonly name: string;
  readonly shape: readonly number[];
  readonly provider: string;
  readonly id: number;
  readonly repeats: number;
  readonly path: string;
}

const state = { runtime: null as Runtime | null, threads: 1, next: 0 };
const sessions = new Map<number, { session: Session; feeds: Record<string, unknown>; last: Float32Array }>();

async function answer(r: Request): Promise<Record<string, unknown>> {
  switch (r.do) {
    case "hello": {
      const module = await import(r.package), runtime: Runtime = module.default ?? module;
      state.runtime = runtime;
      state.threads = r.threads;
      return { version: runtime.env.versions.node ?? runtime.env.versions.common ?? "" };
    }
    case "open": {
      const { InferenceSession, Tensor } = state.runtime!;
      const session = await InferenceSession.create(await Deno.readFile(r.model), {
        executionProviders: [r.provider],
        intraOpNumThreads: state.threads,
        logSeverityLevel: 4,
      });
      const x = new Float32Array((await Deno.readFile(r.input)).buffer), id = state.next++;
      sessions.set(id, { session, feeds: { [r.name]: new Tensor("float32", x, r.shape) }, last: new Float32Array(0) });
      return { id };
    }
    case "run": {
      const s = sessions.get(r.id)!, begun = performance.now();
      for (let i = 0; i < r.repeats; i++) s.last = (await s.session.run(s.feeds)).y.data;
      return { seconds: (performance.now() - begun) / 1000 / r.repeats };
    }
    case "save": {
      const { last } = sessions.get(r.id)!;
      await Deno.writeFile(r.path, new Uint8Array(last.buffer, last.byteOffset, last.byteLength));
      return {};
    }
    case "close":
      await sessions.get(r.id)!.session.release();
      sessions.delete(r.id);
      return {};
  }
}

let rest = "";
for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\n");
  rest = lines.pop()!;
  for (const line of lines) {
    const said = await answer(JSON.parse(line)).catch((e) => ({ error: String(e?.message ?? e).split("\n")[0] }));
    console.log(JSON.stringify(said));
  }
}
