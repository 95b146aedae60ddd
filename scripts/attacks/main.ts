/**
 * `deno task attacks`: runs the attack tests, the fuzz tests and Schemathesis, and writes their figures to
 * `scripts/bench/results/attacks.json`. Exits with 1 if a test fails. Then the file is not written.
 *
 * Needs the environment of `deno task peers:venv schemathesis`.
 */

import { Command } from "commander";
import { integer } from "../../src/cli/options/common_options.ts";
import { openBackend } from "../../src/cli/local_host.ts";
import { resultsUrl, writeResults } from "../bench/report/results_file.ts";
import { peersSkipReason, VENVS } from "../peers/venv.ts";
import type { AttackResults, FuzzFigures, RequestFigures } from "./attack_results.ts";
import { attacksTable } from "./table.ts";

const ROOT = new URL("../../", import.meta.url);

/** What `deno test` counted. */
interface TestCounts {
  readonly tests: number;
  readonly failures: number;
}

const command = new Command("attacks").description("attack the parsers and the servers, and count what holds")
  .option("--runs <n>", "inputs per parser", integer(1), 2000)
  .option("--seconds <n>", "seconds of generated requests per server", integer(1), 60)
  .parse(Deno.args, { from: "user" });
const { runs, seconds } = command.opts<{ runs: number; seconds: number }>();
const missing = await peersSkipReason(VENVS.schemathesis);
if (missing) {
  console.error(`attacks: ${missing}`);
  Deno.exit(2);
}

const folder = await Deno.makeTempDir();
try {
  const fuzzFile = `${folder}/fuzz.jsonl`, requestsFile = `${folder}/requests.jsonl`;
  const attacks = await runTests("tests/attacks", {});
  const fuzz = await runTests("tests/fuzz", { PARE_FUZZ_RUNS: String(runs), PARE_FUZZ_FIGURES: fuzzFile });
  const requests = await runTests("tests/schemathesis", {
    PARE_SCHEMATHESIS_SECONDS: String(seconds),
    PARE_SCHEMATHESIS_FIGURES: requestsFile,
  });
  if (attacks.failures + fuzz.failures + requests.failures > 0) Deno.exit(1);
  const results: AttackResults = {
    attacks,
    corpus: await countCorpus(),
    fuzz: await readLines<FuzzFigures>(fuzzFile),
    fuzzFailures: fuzz.failures,
    requests: await readLines<RequestFigures>(requestsFile),
  };
  const backend = await openBackend("cpu");
  const device = { backend: backend.kind, adapter: backend.adapter.name };
  await writeResults(resultsUrl("attacks", "json"), device, results);
  console.log(attacksTable(results));
} finally {
  await Deno.remove(folder, { recursive: true });
}
Deno.exit(0);

/** Runs the tests in a folder. Their output goes to the terminal. */
async function runTests(tests: string, env: Record<string, string>): Promise<TestCounts> {
  const report = `${folder}/report.xml`;
  const args = ["test", "-A", "--quiet", "--no-check", `--junit-path=${report}`, tests];
  const { code } = await new Deno.Command(Deno.execPath(), {
    args,
    env,
    cwd: ROOT,
    stdout: "inherit",
    stderr: "inherit",
  })
    .output();
  const [, count, failures] =
    /<testsuites [^>]*tests="(\d+)" failures="(\d+)"/.exec(await Deno.readTextFile(report)) ?? [];
  if (count === undefined) throw new Error(`${tests}: deno test wrote no report`);
  // Deno also exits with an error if a file of tests cannot be loaded. Then no test has failed.
  return { tests: Number(count), failures: code === 0 ? 0 : Math.max(1, Number(failures)) };
}

/** Counts the cases in each file of the corpus. */
async function countCorpus(): Promise<Record<string, number>> {
  const corpus = new URL("tests/attacks/corpus/", ROOT), counts: Record<string, number> = {};
  for (const name of [...Deno.readDirSync(corpus)].map(({ name }) => name).toSorted()) {
    counts[name.replace(/\.json$/, "")] = JSON.parse(await Deno.readTextFile(new URL(name, corpus))).length;
  }
  return counts;
}

async function readLines<Line>(path: string): Promise<Line[]> {
  return (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
}
