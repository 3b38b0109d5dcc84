// A strict JSON reader for files that strangers wrote. JSON.parse keeps the last of two equal keys in silence and
// rounds 2^53 + 1; both let one file mean two things to two programs. Here equal keys are refused and numbers
// keep the text in which they were written.

/** A number as it was written. */
export class JsonNumber {
  constructor(readonly text: string) {}
}

/** What `parseStrictJson` gives: objects are maps (a key may be "__proto__"), numbers keep their text. */
export type StrictJson = null | boolean | string | JsonNumber | StrictJson[] | Map<string, StrictJson>;

/** Where and why a text is not JSON; the caller knows the file's name. */
export class JsonProblem extends Error {
  override readonly name = "JsonProblem";
}

const MAX_DEPTH = 32; // safetensors headers and indices need 3
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f]/;

/**
 * Reads one JSON value (RFC 8259) that fills the text, refusing equal keys in one object.
 *
 * @param text the whole text; white space before and after is allowed.
 * @returns objects as maps in file order, numbers as `JsonNumber`.
 * @throws JsonProblem with the character at which the text went wrong.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { JsonNumber, parseStrictJson } from "./json.ts";
 * assert.deepEqual(parseStrictJson('{"a": [1.0]}'), new Map([["a", [new JsonNumber("1.0")]]]));
 * assert.throws(() => parseStrictJson('{"a": 1, "a": 2}'), /the key "a" appears twice/);
 * ```
 */
export function parseStrictJson(text: string): StrictJson {
  let at = 0;
  const fail = (problem: string): never => {
    throw new JsonProblem(`${problem}, at character ${at}`);
  };
  const skip = () => {
    SPACE.lastIndex = at;
    SPACE.test(text);
    at = SPACE.lastIndex;
  };
  const string = (): string => {
    const start = at;
    let end = at;
    do {
      end = text.indexOf('"', end + 1);
      if (end < 0) fail("a string has no end");
    } while (isEscaped(text, start, end));
    const raw = text.slice(start + 1, end);
    if (CONTROL.test(raw)) fail("a string holds a control character");
    let value = raw;
    if (raw.includes("\\")) {
      try {
        value = JSON.parse(`"${raw}"`);
      } catch {
        fail("a string holds an escape that JSON does not know");
      }
      if (!value.isWellFormed()) fail("a string holds half a surrogate pair");
    }
    at = end + 1;
    return value;
  };
  const value = (depth: number): StrictJson => {
    if (depth > MAX_DEPTH) fail(`nested more than ${MAX_DEPTH} deep`);
    skip();
    const c = text[at];
    if (c === '"') return string();
    if (c === "{") {
      const map = new Map<string, StrictJson>();
      at++;
      skip();
      if (text[at] === "}") {
        at++;
        return map;
      }
      for (;;) {
        skip();
        if (text[at] !== '"') fail("a key was expected");
        const key = string();
        if (map.has(key)) fail(`the key ${JSON.stringify(key)} appears twice`);
        skip();
        if (text[at] !== ":") fail("a colon was expected");
        at++;
        map.set(key, value(depth + 1));
        skip();
        if (text[at] === "}") break;
        if (text[at] !== ",") fail("a comma or } was expected");
        at++;
      }
      at++;
      return map;
    }
    if (c === "[") {
      const list: StrictJson[] = [];
      at++;
      skip();
      if (text[at] === "]") {
        at++;
        return list;
      }
      for (;;) {
        list.push(value(depth + 1));
        skip();
        if (text[at] === "]") break;
        if (text[at] !== ",") fail("a comma or ] was expected");
        at++;
      }
      at++;
      return list;
    }
    for (const [word, meaning] of [["true", true], ["false", false], ["null", null]] as const) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return meaning;
      }
    }
    NUMBER.lastIndex = at;
    const number = NUMBER.exec(text);
    if (number === null) return fail(at < text.length ? "a value was expected" : "the text ends too early");
    at += number[0].length;
    return new JsonNumber(number[0]);
  };
  const result = value(0);
  skip();
  if (at < text.length) fail("more text follows the value");
  return result;
}

/** Whether the quote at `end` is escaped: an odd number of backslashes stands before it. */
function isEscaped(text: string, start: number, end: number): boolean {
  let n = 0;
  for (let i = end - 1; i > start && text.charCodeAt(i) === 92; i--) n++;
  return n % 2 === 1;
}
