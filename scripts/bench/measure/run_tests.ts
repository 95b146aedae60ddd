/** Runs tests whose figures a bench publishes. */

const ROOT = new URL("../../../", import.meta.url);

/** The numbers of tests that `deno test` counted. */
export interface TestCounts {
  readonly tests: number;
  readonly failures: number;
}

/**
 * Runs a file of tests, or the tests in a folder. Their output goes to the terminal.
 * @param tests the path from the root of the repository
 * @param scratch the folder of the report of `deno test`
 */
export async function runTests(
  tests: string,
  scratch: string,
  env: Record<string, string> = {},
): Promise<TestCounts> {
  const report = `${scratch}/report.xml`;
  const args = ["test", "-A", "--quiet", "--no-check", `--junit-path=${report}`, tests];
  const command = { args, env, cwd: ROOT, stdout: "inherit", stderr: "inherit" } as const;
  const { code } = await new Deno.Command(Deno.execPath(), command).output();
  const text = await Deno.readTextFile(report).catch(() => "");
  const [, count, failures] = /<testsuites [^>]*tests="(\d+)" failures="(\d+)"/.exec(text) ?? [];
  if (count === undefined) throw new Error(`${tests}: deno test wrote no report`);
  // Deno also exits with an error if a file of tests cannot be loaded. Then no test has failed.
  return { tests: Number(count), failures: code === 0 ? 0 : Math.max(1, Number(failures)) };
}

/** Runs tests that append one JSON object per line to the file whose path is in the variable `variable`. @returns the objects */
export async function runForFigures<Figures>(
  tests: string,
  scratch: string,
  variable: string,
  env: Record<string, string>,
): Promise<TestCounts & { readonly figures: Figures[] }> {
  const file = `${scratch}/figures.jsonl`;
  await Deno.writeTextFile(file, "");
  const counts = await runTests(tests, scratch, { ...env, [variable]: file });
  const lines = (await Deno.readTextFile(file)).split("\n").filter((line) => line !== "");
  return { ...counts, figures: lines.map((line) => JSON.parse(line)) };
}
