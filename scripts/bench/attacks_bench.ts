/**
 * Runs the attack tests, the fuzz tests and Schemathesis, and counts what fails. The results file is not written if a test
 * fails. The bench needs the environment of `deno task venv schemathesis`.
 */

import { integer } from "../../src/cli/options/common_options.ts";
import { openBackend } from "../../src/cli/open_backend.ts";
import { peersSkipReason, VENVS } from "../peers/venv.ts";
import type { Bench } from "./bench.ts";
import { runForFigures, runTests, type TestCounts } from "./measure/run_tests.ts";
import { markdownTable } from "./report/markdown_table.ts";

/** The figures of one fuzz test, as the tests in `tests/fuzz/` write them. */
interface FuzzFigures {
  readonly parser: string;
  readonly runs: number;
}

/** The figures of one server, as the test in `tests/schemathesis/` writes them. */
interface RequestFigures {
  readonly server: string;
  readonly cases: number;
  readonly failures: number;
}

interface AttacksResults {
  /** The tests in `tests/attacks/`. Some cases of the corpus are tested in two ways. */
  readonly attacks: TestCounts;
  /** The number of cases of the corpus by subject. */
  readonly corpus: Readonly<Record<string, number>>;
  readonly fuzz: readonly FuzzFigures[];
  readonly fuzzFailures: number;
  readonly requests: readonly RequestFigures[];
}

/** An attack, how many cases were tried, and how many failed. */
type Row = readonly [attack: string, tried: number, failed: number];

export const bench: Bench<{ readonly runs: number; readonly seconds: number }, AttacksResults> = {
  description: "attacks on the parsers and the servers, and how many of them fail",
  options: (command) =>
    command
      .option("--runs <n>", "inputs per parser", integer(1), 2000)
      .option("--seconds <n>", "seconds of generated requests per server", integer(1), 60),
  async measure({ runs, seconds }, { scratch, save }) {
    const missing = await peersSkipReason(VENVS.schemathesis);
    if (missing) throw new Error(`attacks: ${missing}`);
    const attacks = await runTests("tests/attacks", scratch);
    const fuzz = await runForFigures<FuzzFigures>("tests/fuzz", scratch, "PARE_FUZZ_FIGURES", {
      PARE_FUZZ_RUNS: String(runs),
    });
    const requests = await runForFigures<RequestFigures>(
      "tests/schemathesis",
      scratch,
      "PARE_SCHEMATHESIS_FIGURES",
      { PARE_SCHEMATHESIS_SECONDS: String(seconds) },
    );
    const results: AttacksResults = {
      attacks,
      corpus: await countCorpus(),
      fuzz: fuzz.figures,
      fuzzFailures: fuzz.failures,
      requests: requests.figures,
    };
    await using cleanup = new AsyncDisposableStack();
    const { kind, adapter } = await openBackend({ backend: "cpu" }, cleanup),
      device = { backend: kind, adapter: adapter.name };
    if (attacks.failures + fuzz.failures + requests.failures === 0) await save(device, results);
    return results;
  },
  passes: ({ attacks, fuzzFailures, requests }) =>
    attacks.failures + fuzzFailures === 0 && requests.every(({ failures }) => failures === 0),
  tables: {
    attacks({ attacks, corpus, fuzz, fuzzFailures, requests }) {
      const cases = Object.values(corpus).reduce((sum, count) => sum + count, 0);
      const inputs = fuzz.reduce((sum, { runs }) => sum + runs, 0);
      return markdownTable<Row>([
        ["attack", ([attack]) => attack],
        ["tried", ([, tried]) => tried.toLocaleString("en")],
        ["failed", ([, , failed]) => failed.toString()],
      ], [
        [`cases of the corpus, about ${Object.keys(corpus).length} subjects`, cases, attacks.failures],
        [`inputs that fast-check generated, for ${fuzz.length} parsers`, inputs, fuzzFailures],
        ...requests.map(({ server, cases, failures }): Row => [
          `requests that Schemathesis generated, to the ${server}`,
          cases,
          failures,
        ]),
      ]);
    },
  },
};

/** Counts the cases in each file of the corpus. */
async function countCorpus(): Promise<Record<string, number>> {
  const corpus = new URL("../../tests/attacks/corpus/", import.meta.url), counts: Record<string, number> = {};
  for (const name of [...Deno.readDirSync(corpus)].map(({ name }) => name).toSorted()) {
    counts[name.replace(/\.json$/, "")] = JSON.parse(await Deno.readTextFile(new URL(name, corpus))).length;
  }
  return counts;
}
