// An assembler for the little WebAssembly the lab writes by hand: text with folded instructions in, bytes out.
// Only what matmul.ts needs; opcodes from https://webassembly.github.io/spec and the relaxed SIMD proposal.

type Node = string | Node[];

function parse(text: string): Node[] {
  const tokens = text.replace(/;;.*$/gm, "").match(/[()]|[^\s()]+/g) ?? [], stack: Node[][] = [[]];
  for (const token of tokens) {
    if (token === "(") stack.push([]);
    else if (token === ")") {
      const list = stack.pop()!;
      stack[stack.length - 1].push(list);
    } else stack[stack.length - 1].push(token);
  }
  if (stack.length !== 1) throw new SyntaxError("parentheses do not match");
  return stack[0];
}

function unsigned(n: number): number[] {
  const out: number[] = [];
  do {
    const byte = n & 0x7f;
    n >>>= 7;
    out.push(n === 0 ? byte : byte | 0x80);
  } while (n !== 0);
  return out;
}

function signed(n: number): number[] {
  const out: number[] = [];
  for (;;) {
    const byte = n & 0x7f;
    n >>= 7;
    if ((n === 0 && !(byte & 0x40)) || (n === -1 && byte & 0x40)) return [...out, byte];
    out.push(byte | 0x80);
  }
}

const types: Record<string, number> = { i32: 0x7f, f32: 0x7d, v128: 0x7b };

/** Instructions without immediates. */
const plain: Record<string, number[]> = {
  "i32.add": [0x6a],
  "i32.sub": [0x6b],
  "i32.mul": [0x6c],
  "i32.div_u": [0x6e],
  "i32.lt_u": [0x49],
  "i32.gt_u": [0x4b],
  "select": [0x1b],
  "f32x4.splat": [0xfd, ...unsigned(0x13)],
  "f32x4.neg": [0xfd, ...unsigned(0xe1)],
  "f32x4.add": [0xfd, ...unsigned(0xe4)],
  "f32x4.sub": [0xfd, ...unsigned(0xe5)],
  "f32x4.mul": [0xfd, ...unsigned(0xe6)],
  "f32x4.div": [0xfd, ...unsigned(0xe7)],
  "f32x4.min": [0xfd, ...unsigned(0xe8)],
  "f32x4.max": [0xfd, ...unsigned(0xe9)],
  "f32x4.abs": [0xfd, ...unsigned(0xe0)],
  "f32x4.lt": [0xfd, ...unsigned(0x43)],
  "v128.bitselect": [0xfd, ...unsigned(0x52)],
  "f32x4.relaxed_madd": [0xfd, ...unsigned(0x105)],
};

/** Memory accesses: opcode and alignment as a power of two. */
const memory: Record<string, [number[], number]> = {
  "v128.load": [[0xfd, ...unsigned(0x00)], 2],
  "v128.load32_splat": [[0xfd, ...unsigned(0x09)], 2],
  "v128.store": [[0xfd, ...unsigned(0x0b)], 2],
};

class Body {
  readonly code: number[] = [];
  readonly #labels: string[] = [];
  constructor(readonly locals: Map<string, number>) {}

  #local(name: Node): number[] {
    const index = this.locals.get(String(name));
    if (index === undefined) throw new SyntaxError(`no local ${name}`);
    return unsigned(index);
  }

  emit(node: Node): void {
    if (typeof node === "string") throw new SyntaxError(`a bare ${node}: instructions are folded`);
    const [head, ...rest] = node, op = String(head);
    if (op === "loop" || op === "block") {
      this.#labels.push(String(rest[0]));
      this.code.push(op === "loop" ? 0x03 : 0x02, 0x40);
      for (const child of rest.slice(1)) this.emit(child);
      this.code.push(0x0b);
      this.#labels.pop();
    } else if (op === "br_if") {
      const depth = this.#labels.length - 1 - this.#labels.lastIndexOf(String(rest[0]));
      this.emit(rest[1]);
      this.code.push(0x0d, ...unsigned(depth));
    } else if (op === "local.get") this.code.push(0x20, ...this.#local(rest[0]));
    else if (op === "local.set" || op === "local.tee") {
      this.emit(rest[1]);
      this.code.push(op === "local.set" ? 0x21 : 0x22, ...this.#local(rest[0]));
    } else if (op === "i32.const") this.code.push(0x41, ...signed(Number(rest[0])));
    else if (op === "f32.const") {
      this.code.push(0x43, ...new Uint8Array(Float32Array.of(Number(rest[0])).buffer));
    } else if (memory[op]) {
      const offset = typeof rest[0] === "string" ? Number(rest[0].replace("offset=", "")) : 0;
      for (const child of rest) if (typeof child !== "string") this.emit(child);
      this.code.push(...memory[op][0], memory[op][1], ...unsigned(offset));
    } else if (plain[op]) {
      for (const child of rest) this.emit(child);
      this.code.push(...plain[op]);
    } else throw new SyntaxError(`unknown instruction ${op}`);
  }
}

const section = (id: number, bytes: number[]) => [id, ...unsigned(bytes.length), ...bytes];
const vector = (items: number[][]) => [...unsigned(items.length), ...items.flat()];
const name = (text: string) => [...unsigned(text.length), ...new TextEncoder().encode(text)];

/**
 * Assembles functions `(func name (param $a i32)… (local $x v128)… body…)` into a module that imports a shared memory
 * "env"."memory" of at most `pages` pages and exports each function by its name.
 *
 * @throws SyntaxError for what it does not know.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { assemble } from "./wat.ts";
 * const bytes = assemble("(func f (param $a i32) (local.set $a (i32.add (local.get $a) (i32.const 1))))", 1);
 * assert.ok(WebAssembly.validate(bytes));
 * ```
 */
export function assemble(text: string, pages: number): Uint8Array<ArrayBuffer> {
  const signatures: number[][] = [], bodies: number[][] = [], exports: number[][] = [];
  for (const func of parse(text) as Node[][]) {
    const locals = new Map<string, number>(), parameters: number[] = [], kinds: number[] = [];
    const instructions: Node[] = [];
    for (const node of func.slice(2)) {
      const [head, id, type] = node as string[];
      if (head === "param" || head === "local") {
        locals.set(id, locals.size);
        (head === "param" ? parameters : kinds).push(types[type]);
      } else instructions.push(node);
    }
    const body = new Body(locals);
    for (const node of instructions) body.emit(node);
    const code = [...vector(kinds.map((kind) => [1, kind])), ...body.code, 0x0b];
    exports.push([...name(String(func[1])), 0x00, ...unsigned(bodies.length)]);
    signatures.push([0x60, ...vector(parameters.map((p) => [p])), 0]);
    bodies.push([...unsigned(code.length), ...code]);
  }
  const imported = [...name("env"), ...name("memory"), 0x02, 0x03, 0, ...unsigned(pages)];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(signatures)),
    ...section(2, vector([imported])),
    ...section(3, vector(bodies.map((_, i) => unsigned(i)))),
    ...section(7, vector(exports)),
    ...section(10, vector(bodies)),
  ]);
}
