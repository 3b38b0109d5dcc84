// The lab's version, as every result carries it.

/** The version in deno.json. */
export async function labVersion(): Promise<string> {
  const text = await Deno.readTextFile(new URL("../../deno.json", import.meta.url));
  return String((JSON.parse(text) as { version?: string }).version ?? "unknown");
}
