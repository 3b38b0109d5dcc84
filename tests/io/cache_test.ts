import assert from "node:assert/strict";
import { join } from "node:path";
import { hubCache, labCache } from "../../lib/io/cache.ts";

const env = (values: Record<string, string>) => (name: string): string | undefined => values[name];

Deno.test("hubCache() follows Python's order when several variables are set", () => {
  const all = { HF_HUB_CACHE: "/a", HF_HOME: "/b", OWQ_LAB_CACHE: "/c", XDG_CACHE_HOME: "/d", HOME: "/e" };
  assert.equal(hubCache(env(all)), "/a");
  assert.equal(hubCache(env({ ...all, HF_HUB_CACHE: "" })), join("/b", "hub"));
  assert.equal(hubCache(env({ OWQ_LAB_CACHE: "/c", XDG_CACHE_HOME: "/d" })), join("/c", "hub"));
  assert.equal(hubCache(env({ XDG_CACHE_HOME: "/d", HOME: "/e" })), join("/d", "huggingface", "hub"));
  assert.equal(hubCache(env({ HOME: "/e" })), join("/e", ".cache", "huggingface", "hub"));
});

Deno.test("labCache() prefers OWQ_LAB_CACHE when it is set and is never in the working folder when not", () => {
  assert.equal(labCache(env({ OWQ_LAB_CACHE: "/c", XDG_CACHE_HOME: "/d" })), "/c");
  assert.equal(labCache(env({ XDG_CACHE_HOME: "/d" })), join("/d", "owq-lab"));
  assert.ok(!labCache(env({})).startsWith(Deno.cwd()));
});
