/**
 * Finds the builds of PyTorch on this machine. PyTorch from PyPI multiplies matrices with MKL, and Debian's PyTorch
 * with OpenBLAS. Neither is faster on every processor, so the benches try all builds that they find.
 */

import { fileURLToPath } from "node:url";
import { VENVS } from "../../peers/venv.ts";
import { peerEnvironment } from "./peer_environment.ts";

export interface TorchBuild {
  /** The short name, which has the version of torch and the library, such as `torch 2.6.0, OpenBLAS`. */
  readonly title: string;
  /** The Python program that imports this build. */
  readonly python: string;
  /** The version of torch, such as `2.6.0+debian`. */
  readonly torch: string;
  /** The library that multiplies matrices, with its version. */
  readonly blas: string;
  /** The processor for which the library chose its kernels, as the library names it. Null if it does not say. */
  readonly kernel: string | null;
  /** The text of `torch.__config__.show()`. */
  readonly config: string;
}

/** The JSON object that `describe_torch.py` prints. */
interface TorchDescription extends Omit<TorchBuild, "title" | "python"> {
  /** The folder of the package torch. Two Pythons with the same folder have the same build. */
  readonly folder: string;
}

const DESCRIBE = fileURLToPath(new URL("../python/describe_torch.py", import.meta.url));

/** Matches the line in which MKL describes itself. The line names the processors for which MKL chose its kernels. */
const MKL_DESCRIPTION = /^MKL_VERBOSE oneMKL .* for Intel\(R\) 64 architecture (.+?), \w+ [\d.]+GHz/m;

/**
 * Finds all builds that can be imported together with safetensors. Four Python programs are asked for their build: the one
 * that PARE_PYTHON names, that of the environment of `deno task venv`, `/usr/bin/python3`, and `python3` on the path.
 */
export async function findTorchBuilds(): Promise<TorchBuild[]> {
  const pythons = [Deno.env.get("PARE_PYTHON"), VENVS.readers.python, "/usr/bin/python3", "python3"];
  const builds = new Map<string, TorchBuild>();
  for (const python of new Set(pythons)) {
    const found = python ? await describeTorch(python) : undefined;
    if (found && !builds.has(found.folder)) builds.set(found.folder, found.build);
  }
  return [...builds.values()];
}

/** Describes the build that `python` imports. Returns undefined if there is no such program, or if it has no torch or no safetensors. */
export async function describeTorch(
  python: string,
): Promise<{ readonly folder: string; readonly build: TorchBuild } | undefined> {
  const program = new Deno.Command(python, {
    args: ["-B", DESCRIBE],
    clearEnv: true,
    env: peerEnvironment({ MKL_VERBOSE: "1" }),
    stdout: "piped",
    stderr: "null",
  });
  let output: Deno.CommandOutput;
  try {
    output = await program.output();
  } catch (error) {
    // `output` throws this error itself when there is no such program, instead of returning a rejected promise.
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return output.success ? parseDescription(python, new TextDecoder().decode(output.stdout)) : undefined;
}

/** Parses the output of `describe_torch.py`. The last line is a JSON object, and lines that MKL prints may precede it. */
export function parseDescription(
  python: string,
  output: string,
): { readonly folder: string; readonly build: TorchBuild } {
  const { folder, ...description }: TorchDescription = JSON.parse(output.trim().split("\n").at(-1)!);
  const kernel = description.kernel ?? MKL_DESCRIPTION.exec(output)?.[1] ?? null;
  const title = `torch ${description.torch.split("+")[0]}, ${description.blas.split(" ")[0]}`;
  return { folder, build: { title, python, ...description, kernel } };
}

/** Describes builds in one sentence, for the line below a table. */
export function describeBuilds(builds: readonly TorchBuild[]): string {
  if (builds.length === 0) return "No build of PyTorch is recorded.";
  const parts = builds.map(({ torch, blas, kernel }) =>
    `torch ${torch} with ${blas}${kernel ? ` (kernels for ${kernel})` : ""}`
  );
  return `Builds of PyTorch: ${parts.join("; ")}.`;
}
