/** Asks an adapter what it is and what it can do. */

/** The description of an adapter. */
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
    info: { vendor, architecture, device, description },
    limits: numbersOf(adapter.limits),
    listed,
    granted: granted.sort(),
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
