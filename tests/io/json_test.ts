import assert from "node:assert/strict";
import { JsonNumber, JsonProblem, parseStrictJson, type StrictJson } from "../../lib/io/json.ts";

/** What JSON.parse would have given. */
function plain(value: StrictJson): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([k, v]) => [k, plain(v)]));
  if (value instanceof JsonNumber) return Number(value.text);
  return Array.isArray(value) ? value.map(plain) : value;
}

Deno.test("parseStrictJson() agrees with JSON.parse on what both accept", () => {
  for (
    const text of [
      ` {"a" : [1, -0, 2.5e-3, true, false, null, "", {}], "b\\n\\u00e9\\"\\\\" : {"c": []} } \r\n\t`,
      `"\\ud83d\\ude00 \\/"`,
      `[]`,
      `{}`,
      `12`,
      `"\u2028"`,
    ]
  ) assert.deepEqual(plain(parseStrictJson(text)), JSON.parse(text));
});

Deno.test("parseStrictJson() refuses what JSON forbids, with the place", () => {
  const cases: [string, RegExp][] = [
    ["", /the text ends too early, at character 0/],
    ["{", /a key was expected/],
    ["{a:1}", /a key was expected/],
    [`{"a"}`, /a colon was expected/],
    [`{"a":1,}`, /a key was expected/],
    [`{"a":1 "b":2}`, /a comma or } was expected, at character 7/],
    ["[1 2]", /a comma or \] was expected/],
    ["[1,]", /a value was expected/],
    ["01", /more text follows the value, at character 1/],
    ["+1", /a value was expected/],
    ["1.", /more text follows/],
    ["NaN", /a value was expected/],
    [`"a`, /a string has no end/],
    [`"a\\"`, /a string has no end/],
    [`"\n"`, /control character/],
    [`"\\x"`, /escape that JSON does not know/],
    [`"\\ud83d"`, /half a surrogate pair/],
    ["{} {}", /more text follows/],
    ["\ufeff{}", /a value was expected/],
    ["[".repeat(40) + "]".repeat(40), /nested more than 32 deep/],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => parseStrictJson(text), (e) => e instanceof JsonProblem && message.test(e.message), text);
  }
});

Deno.test("parseStrictJson() refuses equal keys, also when they are written differently", () => {
  assert.throws(() => parseStrictJson(`{"a":1,"\\u0061":2}`), /the key "a" appears twice/);
  assert.throws(() => parseStrictJson(`[{"x":{"k":0,"k":0}}]`), /the key "k" appears twice/);
  assert.doesNotThrow(() => parseStrictJson(`{"__proto__":1,"constructor":{"__proto__":2}}`));
});

Deno.test("parseStrictJson() keeps the text of numbers", () => {
  assert.deepEqual(parseStrictJson("[1.0, 9007199254740993, -0]"), [
    new JsonNumber("1.0"),
    new JsonNumber("9007199254740993"),
    new JsonNumber("-0"),
  ]);
});
