/**
 * The suites of tests. Every file of tests belongs to one suite by its path, so no list of files is kept by hand: a folder
 * of `tests/` that has the name of a suite belongs to it, and of the other files the ending of the name decides, such as
 * `_slow_test.ts`.
 */

export interface Suite {
  /** What the tests are about, as one line for the list of suites. */
  readonly description: string;
  /** The part of the build that the suite needs besides the WebAssembly modules and the pages. */
  readonly build?: "docs" | "npm";
  /** Whether Deno runs with the V8 flags of `deno task serve` and `pare`. The flags matter to the `cpu` backend only. */
  readonly v8Flags?: boolean;
  /**
   * The number of processes that run at the same time, because one test alone rarely keeps two cores busy. Each process loads
   * many files as one module, which saves most of the time that short files take. If absent, one process runs all files.
   */
  readonly processes?: number;
  /** The command of a suite that `deno test` does not run. */
  readonly command?: readonly string[];
}

const PYTHON = ".cache/peers/bin/python";

export const SUITES = {
  fast: { description: "everything that takes seconds", processes: 2 },
  slow: { description: "whole models, commands in child processes, jobs of an edge, and planted faults" },
  nightly: {
    description: "gigabytes of traffic through an edge, slow shaders, and the demo",
  },
  paired: {
    description: "the numerical tests on the cpu backend, with the V8 flags that serve and pare use",
    v8Flags: true,
    processes: 1,
  },
  contract: { description: "the OpenAPI documents, generated clients, and /docs in Chromium", build: "docs" },
  packages: {
    description: "the npm packages, installed into empty folders, in Node, Chromium and a Worker",
    build: "npm",
  },
  pages: { description: "the pages of a host and of an edge in Chromium, and their accessibility" },
  fuzz: { description: "generated inputs to every parser, PARE_FUZZ_RUNS for each" },
  soak: { description: "64 clients at one host for two minutes" },
  peers: { description: "comparisons with transformers, lm-eval and llm-compressor", processes: 1 },
  schemathesis: {
    description: "requests to a host and an edge that are generated from the OpenAPI documents",
  },
  python: {
    description: "the Python package: lint, types and tests",
    command: [PYTHON, "-m", "pytest", "-c", "src/python/pyproject.toml", "--rootdir", ".", "tests/python"],
  },
} as const satisfies Record<string, Suite>;

export type SuiteName = keyof typeof SUITES;

/** The numerical tests of the fast suite, which run with the V8 flags as well. */
const PAIRED = /^tests\/(device\/(cpu|kernels)|layer\/(linalg|solvers))\//;

/** Returns the suite that a file of tests belongs to. `path` begins with `tests/`. */
export function suiteOf(path: string): SuiteName {
  const [, folder] = path.split("/");
  if (Object.hasOwn(SUITES, folder)) return folder as SuiteName;
  return (["slow", "nightly"] as const).find((suite) => path.endsWith(`_${suite}_test.ts`)) ??
    "fast";
}

/** Returns the files of a suite in alphabetical order, from all files of tests. */
export function filesOf(suite: SuiteName, paths: readonly string[]): string[] {
  const isPaired = (path: string) => suiteOf(path) === "fast" && PAIRED.test(path);
  return paths.filter((path) => suite === "paired" ? isPaired(path) : suiteOf(path) === suite);
}

/** Lists all files of tests below `folder`, such as `tests/cli/model_slow_test.ts`. */
export function listTests(root: URL, folder = "tests"): string[] {
  return [...Deno.readDirSync(new URL(folder, root))].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return listTests(root, path);
    return name.endsWith("_test.ts") || /^test_.*\.py$/.test(name) ? [path] : [];
  }).toSorted();
}
