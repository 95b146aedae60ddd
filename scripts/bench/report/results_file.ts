/**
 * The results files of the benches, `scripts/bench/results/NAME.json`. A file holds the figures of one bench together with
 * the date and the machine of the measurement. Every published figure is rendered from one of these files.
 */

import { fileURLToPath } from "node:url";
import { formatJson } from "../../../src/base/files/whole_file.ts";

export interface Machine {
  /** The model of the processor, or its architecture if the model is unknown. */
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly os: string;
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

export interface BenchDevice {
  /** `cpu` or `webgpu`. */
  readonly backend: string;
  /** The adapter's name as the backend reports it. */
  readonly adapter: string;
}

/** When and where figures were measured. */
export interface Measurement extends BenchDevice {
  readonly date: string;
  readonly machine: Machine;
  /** The other processors on which earlier runs of the bench measured a part of the results. Absent if there are none. */
  readonly otherProcessors?: readonly string[];
}

const ROOT = new URL("../../../", import.meta.url), FOLDER = new URL("../results/", import.meta.url);

/** The location of the results file `name` with `extension`. */
export function resultsUrl(name: string, extension: "json" | "svg"): URL {
  return new URL(`${name}.${extension}`, FOLDER);
}

/** Reads a results file. Its contents are not validated. @throws {Deno.errors.NotFound} if the file does not exist */
export async function readResults<Results>(file: string | URL): Promise<Results & Measurement> {
  return JSON.parse(await Deno.readTextFile(file));
}

/** Reads a results file, or returns undefined if it does not exist. Its contents are not validated. */
export async function readResultsIfPresent<Results>(
  file: string | URL,
): Promise<(Results & Measurement) | undefined> {
  try {
    return await readResults<Results>(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Writes `results` with the date, this machine and `device` into `file`. An existing file is replaced. Paths inside of the
 * repository are written relative to it.
 * @param earlier the measurement that a part of the results comes from, if there is one
 */
export async function writeResults<Results>(
  file: string | URL,
  { backend, adapter }: BenchDevice,
  results: Results,
  earlier?: Measurement,
): Promise<void> {
  const machine = await describeMachine();
  const processors = earlier ? [...earlier.otherProcessors ?? [], earlier.machine.cpu] : [];
  const otherProcessors = [...new Set(processors)].filter((processor) => processor !== machine.cpu);
  const measurement: Measurement = {
    date: new Date().toISOString(),
    machine,
    ...otherProcessors.length > 0 && { otherProcessors },
    backend,
    adapter,
  };
  const text = formatJson({ ...measurement, ...results });
  await Deno.writeTextFile(file, text.replaceAll(`"${fileURLToPath(ROOT)}`, '"'));
}
