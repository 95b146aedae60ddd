/**
 * Chooses the shader of a kernel for an adapter. A kernel can have several shaders that compute the same result. The
 * default is the shader for the adapter's kind, or the variant for the size of a dispatch. A tuning names other shaders.
 */

import type { Kernel, ShaderVariant } from "../kernels/kernel.ts";

/**
 * The kind of adapter that a default shader is made for: a hardware GPU (`discrete`) or an emulated one (`software`).
 */
export type Tiling = "discrete" | "software";

/** The shader chosen for each kernel: `discrete` or `software` for a default one, or a name from its `variants`. */
export type Tuning = Readonly<Record<string, string>>;

/** Returns all shaders of `kernel` by the names that tunings use for them. */
export function shadersOf(kernel: Kernel): ReadonlyMap<string, ShaderVariant> {
  return new Map([
    ["discrete", kernel.shader],
    ...(kernel.softwareShader ? [["software", kernel.softwareShader]] as const : []),
    ...Object.entries(kernel.variants ?? {}),
  ]);
}

/**
 * Returns the shader that `tuning` names for `kernel`, or else the default shader for `tiling`. The default can depend
 * on the parameters (`Kernel.variantFor`) and on the adapter's workgroup memory, `workgroupBytes`.
 * @throws {RangeError} if the kernel has no shader with the name that `tuning` gives
 */
export function chooseShader(
  kernel: Kernel,
  tiling: Tiling,
  tuning: Tuning,
  params: Readonly<Record<string, number>>,
  workgroupBytes: number,
): ShaderVariant {
  const name = tuning[kernel.name];
  if (name !== undefined) return shaderNamed(kernel, name);
  if (tiling === "software" && kernel.softwareShader) return kernel.softwareShader;
  const sized = kernel.variantFor?.(params);
  const variant = sized === undefined ? kernel.shader : shaderNamed(kernel, sized);
  return fitsIn(variant, workgroupBytes) ? variant : kernel.shader;
}

/** Returns all shaders that `chooseShader` can return for `kernel`. @throws the same errors */
export function possibleShaders(
  kernel: Kernel,
  tiling: Tiling,
  tuning: Tuning,
  workgroupBytes: number,
): ShaderVariant[] {
  const name = tuning[kernel.name];
  if (name !== undefined) return [shaderNamed(kernel, name)];
  if (tiling === "software" && kernel.softwareShader) return [kernel.softwareShader];
  const bySize = kernel.variantFor ? Object.values(kernel.variants ?? {}) : [];
  return [
    kernel.shader,
    ...bySize.filter((variant) => !variant.usesMatrixUnits && fitsIn(variant, workgroupBytes)),
  ];
}

/** Returns whether an adapter with so much workgroup memory can run the shader. */
export function fitsIn({ workgroupBytes: needed = 0 }: ShaderVariant, workgroupBytes: number): boolean {
  return needed <= workgroupBytes;
}

function shaderNamed(kernel: Kernel, name: string): ShaderVariant {
  const shader = kernel.variants?.[name] ?? shadersOf(kernel).get(name);
  if (!shader) throw new RangeError(`tuning of ${kernel.name}: the kernel has no variant ${name}`);
  return shader;
}
