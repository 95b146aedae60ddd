/**
 * `deno task test [SUITE] [ARG…]`: runs one suite of tests, by default the fast one. Further arguments go to `deno test`, or
 * to pytest for the suite `python`. `deno task test --list` lists the suites.
 */

import pMap from "p-map";
import { denoEnvironment } from "../launcher/deno_environment.ts";
import { filesOf, listTests, type Suite, type SuiteName, SUITES } from "./suites.ts";

/** The same products on every machine. Tests of libraries name the library. */
const OWN_PRODUCTS = { PARE_PRODUCTS: "own", PARE_PRECISION: "float32" };
/** A process that ends takes the next share of this many files, so all processes end at nearly the same time. */
const FILES_PER_SHARE = 48;
const ROOT = new URL("../../", import.meta.url);

if (Deno.args.includes("--list")) {
  for (const [name, { description }] of Object.entries(SUITES)) {
    console.log(`${name.padEnd(14)}${description}`);
  }
  Deno.exit(0);
}
const [first, ...rest] = Deno.args, isNamed = first !== undefined && Object.hasOwn(SUITES, first);
if (first !== undefined && !isNamed && !first.startsWith("-")) {
  console.error(`test ${first}: the suites are ${Object.keys(SUITES).join(", ")}`);
  Deno.exit(2);
}
const name = (isNamed ? first : "fast") as SuiteName, args = isNamed ? rest : Deno.args;
const { build, v8Flags, command, processes }: Suite = SUITES[name];
const deno = Deno.execPath();
if (build) await run([deno, "run", "-A", "scripts/build.ts", build, "--required"]);
if (Deno.exitCode !== 0) Deno.exit();
if (command) {
  await run([...command, ...args]);
} else {
  const files = filesOf(name, listTests(ROOT));
  const flags = v8Flags && denoEnvironment(deno, Deno.version.deno) as Record<string, string>;
  const env = { ...flags, ...flags && { PARE_TEST_ONLY_CPU: "1" } };
  const testCommand = [deno, "test", "-A", "--quiet", "--no-check"];
  if (!processes) await run([...testCommand, ...args, ...files], env);
  else {
    const shareCount = Math.max(processes, Math.ceil(files.length / FILES_PER_SHARE));
    await pMap(Array.from({ length: shareCount }).keys(), (share) => {
      const own = args.map((arg) =>
        share > 0 && arg.startsWith("--junit-path=") ? `${arg}.${share + 1}.xml` : arg
      );
      const PARE_TEST_FILES = files.filter((_, i) => i % shareCount === share).join(" ");
      return run([...testCommand, ...own, "scripts/test/share.ts"], { ...env, PARE_TEST_FILES });
    }, { concurrency: processes });
  }
}

/** Runs a command in the root of the repository. If it fails, this process exits with the same code when all commands have ended. */
async function run([program, ...args]: readonly string[], env?: Record<string, string>): Promise<void> {
  const { code } = await new Deno.Command(program, {
    args: [...args],
    cwd: ROOT,
    env: { ...OWN_PRODUCTS, ...env },
  })
    .spawn().status;
  if (code !== 0) Deno.exitCode = code;
}
