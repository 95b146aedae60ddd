/**
 * `deno task audit`: asks the advisory service of the npm registry for known vulnerabilities of the packages in deno.lock. Ends with 0 if there
 * is none of high severity, with 1 if there is one, and with 3 if the service gave no answer, so that nothing is known. Other lock files are
 * checked with `--lock PATH`.
 */

/** The last line of the report of `deno audit` if it has found something. */
const FOUND = /^Found \d+ vulnerabilit/m;

const NO_ANSWER_EXIT_CODE = 3;

const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
  args: ["audit", "--level=high", ...Deno.args],
  env: { NO_COLOR: "1" },
}).output();
const decoder = new TextDecoder(), report = decoder.decode(stdout), errors = decoder.decode(stderr);
if (code === 0 || FOUND.test(report)) {
  console.log(report.trim());
  Deno.exit(code);
}
const [reason] = errors.trim().split("\n");
console.error(
  `audit: the advisory service of the npm registry gave no usable answer, so nothing was checked (${reason})`,
);
Deno.exit(NO_ANSWER_EXIT_CODE);
