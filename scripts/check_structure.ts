/**
 * `deno task structure`: fails on an import against the arrows of `src/README.md`, on a kernel without its four files, and on a
 * name that must stay in one place (hono, Deno, a concrete backend). It reads import lines; it does not resolve types.
 */

/** What a folder may import besides itself. A file listed alone is an exception to its folder. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  "src/tensor": [],
  "src/sparsity": ["src/tensor"],
  "src/safetensors": ["src/tensor"],
  "src/kernels": ["src/tensor", "shaders"],
  "src/backend": ["src/kernels"],
  "src/webgpu": ["src/backend", "src/kernels"],
  "src/cpu": ["src/backend", "src/kernels"],
  "src/linalg": ["src/backend", "src/kernels"],
  "src/solvers": ["src/backend", "src/kernels", "src/linalg", "src/sparsity"],
  "src/calibration": ["src/backend", "src/kernels", "src/linalg", "src/tensor"],
  "src/models": [
    "src/backend",
    "src/kernels",
    "src/linalg",
    "src/safetensors",
    "src/tensor",
    "src/calibration",
  ],
  "src/protocol": ["src/tensor", "src/sparsity"],
  "src/client": ["src/protocol", "src/safetensors", "src/tensor", "src/sparsity"],
  "src/report": ["src/protocol"],
  "src/compressed": ["src/models", "src/safetensors", "src/sparsity", "src/tensor"],
  "src/evaluation": [
    "src/backend",
    "src/kernels",
    "src/models",
    "src/pipeline",
    "src/tensor",
  ],
  "src/hub": ["src/models"],
  "src/edge": ["src/protocol"],
  "src/edge/worker.ts": ["src/protocol", "build/kernels_single.wasm"],
  // The Worker as a host of small layers: the cpu backend, the solve, and the host's one table of errors.
  "src/edge/small_layers.ts": [
    "routes/errors.ts",
    "routes/report_headers.ts",
    "src/backend",
    "src/cpu",
    "src/linalg",
    "src/pipeline",
    "src/protocol",
    "src/safetensors",
  ],
  "src/pipeline": [
    "src/backend",
    "src/calibration",
    "src/client/model_source.ts",
    "src/kernels",
    "src/linalg",
    "src/models",
    "src/protocol",
    "src/safetensors",
    "src/solvers",
    "src/sparsity",
    "src/tensor",
  ],
  "routes": ["src/backend", "src/pipeline", "src/protocol", "src/safetensors", "src/tensor", "src/linalg"],
  "routes/backends.ts": ["src/backend", "src/cpu", "src/webgpu"],
  "src/cli": [
    "routes",
    "src/backend",
    "src/calibration",
    "src/client",
    "src/compressed",
    "src/evaluation",
    "src/hub",
    "src/models",
    "src/pipeline",
    "src/protocol",
    "src/report",
    "src/safetensors",
    "src/sparsity",
    "src/tensor",
  ],
};

/** Folders in which `hono` may be imported, and those in which the `Deno` global may be read. */
const HONO = ["routes", "src/edge"];
const DENO = ["routes/serve.ts", "routes/backends.ts", "src/cli", "src/cpu", "src/webgpu"];

const KERNEL_FILES = (stem: string) => [
  `shaders/${stem}.wgsl`,
  `src/cpu/assembly/${stem}.ts`,
  `tests/kernels/${stem}_test.ts`,
];
const NOT_KERNELS = ["kernel", "kernels"];

const IMPORT =
  /^\s*(?:import|export)\b[^"';]*?\bfrom\s+"([^"]+)"|\bimport\(\s*"([^"]+)"|^\s*import\s+"([^"]+)"/gm;

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (path === "src/cpu/assembly") continue;
    if (entry.isDirectory) yield* sources(path);
    else if (path.endsWith(".ts")) yield path;
  }
}

function within(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder + "/");
}

/** The most specific rule for a file. */
function allowedFor(path: string): readonly string[] | undefined {
  const folder = Object.keys(ALLOWED).filter((f) => within(path, f)).sort((a, b) => b.length - a.length)[0];
  return folder === undefined
    ? undefined
    : [folder, ...ALLOWED[folder], path.split("/").slice(0, -1).join("/")];
}

function resolve(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

async function importProblems(path: string): Promise<string[]> {
  const text = await Deno.readTextFile(path);
  const allowed = allowedFor(path);
  if (!allowed) return [`${path}: its folder has no import rule in scripts/check_structure.ts`];
  const problems: string[] = [];
  for (const match of text.matchAll(IMPORT)) {
    const specifier = match[1] ?? match[2] ?? match[3];
    if (specifier.startsWith(".")) {
      const target = resolve(path, specifier);
      if (!allowed.some((folder) => within(target, folder))) {
        problems.push(`${path}: must not import ${target}`);
      }
    } else if (/^(npm:)?(hono|@hono\/)/.test(specifier) && !HONO.some((f) => within(path, f))) {
      problems.push(`${path}: hono belongs in ${HONO.join(" and ")}`);
    }
  }
  const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
  if (/\bDeno\./.test(code) && !DENO.some((f) => within(path, f))) {
    problems.push(
      `${path}: the Deno global belongs in ${DENO.join(", ")}; take what is needed as an argument`,
    );
  }
  return problems;
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function kernelProblems(): Promise<string[]> {
  const problems: string[] = [];
  for await (const { name } of Deno.readDir("src/kernels")) {
    const stem = name.replace(/\.ts$/, "");
    if (NOT_KERNELS.includes(stem)) continue;
    for (const file of KERNEL_FILES(stem)) {
      if (!await exists(file)) problems.push(`src/kernels/${name}: ${file} is missing`);
    }
  }
  return problems;
}

const problems = await kernelProblems();
for (const folder of ["src", "routes"]) {
  for await (const path of sources(folder)) problems.push(...await importProblems(path));
}
for (const problem of problems.sort()) console.error(problem);
if (problems.length) Deno.exit(1);
console.log("structure: every import follows the arrows, every kernel has its four files");
