/** Describes the machine on which a bench runs. */

/** The properties of a machine that a reader needs to compare figures. */
export interface Machine {
  /** The model of the processor, or its architecture if the model is unknown. */
  readonly cpu: string;
  /** Logical cores. */
  readonly cores: number;
  readonly memoryBytes: number;
  readonly os: string;
  /** The version of Deno. */
  readonly deno: string;
}

/** Describes this machine. The processor's model is only read on Linux. */
export async function describeMachine(): Promise<Machine> {
  const info = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
  return {
    cpu: /model name\s*:\s*(.+)/.exec(info)?.[1] ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    memoryBytes: Deno.systemMemoryInfo().total,
    os: `${Deno.build.os} ${Deno.osRelease()}`,
    deno: Deno.version.deno,
  };
}
