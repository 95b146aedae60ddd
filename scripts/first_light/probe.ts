/** Asks an adapter what it is and what it can do. */

import type { MatrixAdapter } from "../../src/device/webgpu/runtimes/matrix_units.ts";

export interface Probe {
  readonly info: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, number>>;
  /** The features that the adapter lists. */
  readonly listed: readonly string[];
  /** The features that a device gets when it asks for them, whether the adapter lists them or not. */
  readonly granted: readonly string[];
}

/** Features that kernels use, or could use. */
const WANTED = ["timestamp-query", "shader-f16", "subgroups", "subgroups-f16"];

/** Describes the adapter that `request` returns. A device can be opened once per adapter object. */
export async function probeAdapter(request: () => Promise<GPUAdapter>): Promise<Probe> {
  const adapter = await request(), { info } = adapter;
  const listed = [...adapter.features].sort(), granted: string[] = [];
  for (const feature of new Set([...listed, ...WANTED])) {
    if (await grants(await request(), feature)) granted.push(feature);
  }
  const { vendor, architecture, device, description } = info;
  return {
    info: { vendor, architecture, device, description, ...subgroupsOf(info) },
    limits: numbersOf(adapter.limits),
    listed,
    granted: granted.sort(),
  };
}

/** The properties of subgroups that an adapter may have: their sizes, and the products of its matrix units. */
function subgroupsOf(info: GPUAdapterInfo): Record<string, string> {
  const { subgroupMinSize, subgroupMaxSize, subgroupMatrixConfigs } = info as MatrixAdapter["info"];
  const products = [...subgroupMatrixConfigs ?? []].map(({ componentType, resultComponentType, M, N, K }) =>
    `${componentType} to ${resultComponentType}, ${M}×${N}×${K}`
  );
  return {
    ...(subgroupMinSize !== undefined && { "subgroup size": `${subgroupMinSize} to ${subgroupMaxSize}` }),
    ...(products.length > 0 && { "matrix units": products.join("; ") }),
  };
}

async function grants(adapter: GPUAdapter, feature: string): Promise<boolean> {
  try {
    const device = await adapter.requestDevice({ requiredFeatures: [feature as GPUFeatureName] });
    device.destroy();
    return device.features.has(feature as GPUFeatureName);
  } catch {
    return false;
  }
}

/** The limits as a plain object. Their names are getters of the prototype. */
function numbersOf(limits: GPUSupportedLimits): Record<string, number> {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(limits));
  const values = limits as unknown as Record<string, unknown>;
  return Object.fromEntries(
    names.flatMap((name) => typeof values[name] === "number" ? [[name, values[name] as number]] : []),
  );
}
