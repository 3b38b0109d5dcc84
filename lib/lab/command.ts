// What every command shares: options, --help, an exit code that is 0 only on success, errors as sentences.
import { parseArgs } from "node:util";
import { LabError } from "../io/errors.ts";

/** One option of a command; `value` names its argument in the help, a switch has none. */
export interface CommandOption {
  readonly value?: string;
  readonly help: string;
  readonly multiple?: boolean;
}

/** A command as its help shows it. */
export interface CommandInfo {
  /** As one types it, such as "deno task notebooks". */
  readonly name: string;
  readonly summary: string;
  readonly options: Readonly<Record<string, CommandOption>>;
  /** The name of positional arguments for the usage line, such as "FILE…"; none are accepted without it. */
  readonly positionals?: string;
  readonly more?: string;
}

/** What was typed: `text` for options with a value, `on` for switches. */
export interface CommandInput {
  text(name: string): string | undefined;
  all(name: string): string[];
  on(name: string): boolean;
  readonly positionals: readonly string[];
}

/**
 * The help text of a command.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { helpText } from "./command.ts";
 * const help = helpText({ name: "deno task x", summary: "Does x.", options: { only: { value: "NAME", help: "just one" } } });
 * assert.match(help, /--only NAME +just one/);
 * ```
 */
export function helpText(info: CommandInfo): string {
  const all: Record<string, CommandOption> = { ...info.options, help: { help: "show this text" } };
  const rows = Object.entries(all).map(
    ([name, o]) => [`--${name}${o.value ? ` ${o.value}` : ""}`, o.help] as const,
  );
  const width = Math.max(...rows.map(([left]) => left.length));
  return [
    info.summary,
    "",
    `usage: ${info.name} [options]${info.positionals ? ` ${info.positionals}` : ""}`,
    "",
    ...rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`),
    ...(info.more ? ["", info.more] : []),
  ].join("\n");
}

/**
 * Reads the arguments of a command.
 *
 * @throws LabError "input" for an option that does not exist or lacks its value.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readArguments } from "./command.ts";
 * const info = { name: "x", summary: "", options: { only: { value: "NAME", help: "" }, write: { help: "" } } };
 * const input = readArguments(info, ["--only", "03"]);
 * assert.deepEqual([input.text("only"), input.on("write")], ["03", false]);
 * ```
 */
export function readArguments(info: CommandInfo, args: readonly string[]): CommandInput {
  const options = Object.fromEntries(
    Object.entries(info.options).map(([name, o]) => [
      name,
      { type: o.value === undefined ? "boolean" as const : "string" as const, multiple: o.multiple ?? false },
    ]),
  );
  try {
    const parsed = parseArgs({
      args: [...args],
      options,
      strict: true,
      allowPositionals: info.positionals !== undefined,
    });
    const values = parsed.values as Record<string, string | boolean | (string | boolean)[] | undefined>;
    const list = (name: string) => [values[name] ?? []].flat();
    return {
      text: (name) => list(name).map(String).at(-1),
      all: (name) => list(name).map(String),
      on: (name) => values[name] === true,
      positionals: parsed.positionals,
    };
  } catch (cause) {
    const problem = (cause as Error).message.split(/\. |\n/)[0].replace(/\.$/, "");
    throw new LabError("input", info.name, problem, `See ${info.name} --help.`, { cause });
  }
}

/**
 * Runs a command's main function and ends the process: 0 on success, 1 on failure, 2 for wrong usage.
 *
 * A LabError is shown as its sentence; anything else is our own mistake and keeps its stack.
 *
 * @param main its number, if it returns one, is the exit code.
 * @param args what was typed; a command with subcommands hands on the rest.
 */
export async function runCommand(
  info: CommandInfo,
  main: (input: CommandInput) => Promise<number | void>,
  args: readonly string[] = Deno.args,
): Promise<never> {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(helpText(info));
    Deno.exit(0);
  }
  let input: CommandInput;
  try {
    input = readArguments(info, args);
  } catch (e) {
    console.error((e as Error).message);
    Deno.exit(2);
  }
  try {
    Deno.exit((await main(input)) ?? 0);
  } catch (e) {
    console.error(e instanceof LabError ? e.message : e);
    Deno.exit(1);
  }
}
