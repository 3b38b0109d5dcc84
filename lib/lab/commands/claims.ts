import { checkLedger, ledgerPlaces, writeLedger } from "../claims_ledger.ts";
import { runCommand } from "../command.ts";
import { shortPath } from "../paths.ts";

const info = {
  name: "deno task claims",
  summary: "Writes notebooks/CLAIMS.md, the paper's claims beside our numbers, from the records.",
  options: { check: { help: "write nothing; fail where the file differs from the records" } },
};

await runCommand(info, async (input) => {
  if (!input.on("check")) await writeLedger();
  const problem = await checkLedger();
  console.log(problem ?? `${shortPath(ledgerPlaces().file)}: agrees with its records`);
  return problem === null ? 0 : 1;
});
