/**
 * Writes the list of all kernels to `src/device/kernels/kernels.ts`, from the files that declare them. The list is a
 * file, because the bundles of the packages and of the Worker cannot read folders.
 */

import { declarationFiles } from "../structure/kernels.ts";

const FOLDER = new URL("../../src/device/kernels/", import.meta.url);
export const KERNELS_FILE = new URL("kernels.ts", FOLDER);

/** The width at which the formatter wraps lines. */
const LINE_WIDTH = 110;

const HEADER = `/**
 * The list of all kernels, which \`deno task generate\` writes. The kernels that prune a layer come before the kernels of
 * a model's forward pass and of its training.
 */

`;

export async function renderKernelList(): Promise<string> {
  const paths = (await declarationFiles(new URL("../../", import.meta.url).pathname)).map((path) =>
    path.replace("src/device/kernels/", "./")
  );
  const isOfModel = (path: string) => path.startsWith("./forward/") || path.startsWith("./training/");
  const ordered = [...paths.filter((path) => !isOfModel(path)), ...paths.filter(isOfModel)];
  const lines: string[] = [], kernels: string[] = [];
  for (const path of ordered) {
    const declared: Record<string, unknown> = await import(new URL(path, FOLDER).href);
    const names = Object.keys(declared).filter((name) => isKernel(declared[name]))
      .sort((a, b) => a.localeCompare(b));
    kernels.push(...names);
    const line = `import { ${names.join(", ")} } from "${path}";`;
    const listed = names.map((name) => `  ${name},\n`).join("");
    lines.push(line.length <= LINE_WIDTH ? line : `import {\n${listed}} from "${path}";`);
  }
  lines.push('import type { Kernel } from "./kernel.ts";');
  return `${HEADER}${lines.join("\n")}

export const KERNELS: readonly Kernel[] = [
${kernels.map((name) => `  ${name},`).join("\n")}
];
`;
}

function isKernel(value: unknown): boolean {
  return typeof value === "object" && value !== null && "bindings" in value && "cases" in value;
}

if (import.meta.main) await Deno.writeTextFile(KERNELS_FILE, await renderKernelList());
