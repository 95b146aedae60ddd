/**
 * `deno task demo`: prunes a trained model in four ways through a host that it starts, and measures the perplexity of the
 * results on other text. The demo prints each command before it runs. All commands get the arguments of the demo, such as
 * `--backend cpu`.
 */

import { fileURLToPath } from "node:url";
import { fixtureModel } from "./fixtures/trained_models.ts";
import { startHost } from "./processes/child_host.ts";

const MAIN = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

const OUT = "out/demo";

/** The options of `pare prune` by the name of the output folder. */
const WAYS: Readonly<Record<string, readonly string[]>> = {
  "magnitude-50": ["--method", "magnitude", "--sparsity", "0.5"],
  "sparsegpt-50": ["--method", "sparsegpt", "--sparsity", "0.5"],
  "magnitude-2-4": ["--method", "magnitude", "--pattern", "2:4"],
  "sparsegpt-2-4": ["--method", "sparsegpt", "--pattern", "2:4"],
};

/** Prints and runs a command. @throws {Error} if the command fails */
async function pare(...args: readonly string[]): Promise<void> {
  console.log(`\n> pare ${args.join(" ")}`);
  const command = new Deno.Command(Deno.execPath(), { args: ["run", "-A", "--quiet", MAIN, ...args] });
  const { code } = await command.spawn().status;
  if (code !== 0) throw new Error(`pare ${args[0]} ended with code ${code}`);
}

const { folder, seqlen, calibrationWindows, evaluationWindows, textFiles } = fixtureModel("opt-sotu");
const { calibration, evaluation } = await textFiles(OUT), length = ["--seqlen", String(seqlen)];
await using host = await startHost(Deno.args);
for (const [name, way] of Object.entries(WAYS)) {
  const windows = ["--calibration", calibration, "--samples", String(calibrationWindows), ...length];
  const output = ["--out", `${OUT}/${name}`, "--overwrite", "--server", host.url];
  await pare("prune", folder, ...way, ...windows, ...output, ...Deno.args);
}
const compared = Object.keys(WAYS).flatMap((name) => ["--compare", `${OUT}/${name}`]);
const text = ["--text", evaluation, "--windows", String(evaluationWindows), ...length];
await pare("eval", folder, ...compared, ...text, ...Deno.args);
