/** Checks that an attack is over soon and uses little memory. */

import assert from "node:assert/strict";
import process from "node:process";

/** The processor time in milliseconds that an attack may cost. */
const MAX_CPU_MILLISECONDS = 1000;

/** The longest time in milliseconds until an attack ends. It is longer than the processor time, because a machine may be shared. */
const MAX_MILLISECONDS = 20_000;

/** The memory in bytes by which an attack may let the process grow. */
const MAX_ADDED_BYTES = 64 * 2 ** 20;

/** The number of times that an attack may exceed a bound, because other work of the process counts too, such as its garbage collection. */
const ATTEMPTS = 3;

/** What an attack cost. */
export interface Cost {
  readonly cpuMilliseconds: number;
  readonly milliseconds: number;
  readonly addedBytes: number;
}

/**
 * Runs `attack` and checks its time and its memory. If a bound is exceeded, the attack is repeated. It fails if it exceeds a bound
 * every time.
 * @param name the row of the attack in the table of {@link printCosts}
 */
export async function withinBounds(attack: () => unknown, name?: string): Promise<void> {
  let cost = await measure(attack);
  for (let attempt = 1; attempt < ATTEMPTS && !isWithinBounds(cost); attempt++) cost = await measure(attack);
  if (name !== undefined) costs[name] = cost;
  assert.ok(isWithinBounds(cost), `the attack cost ${JSON.stringify(cost)}`);
}

const costs: Record<string, Cost> = {};

/** Prints the costs of the attacks that have a name. */
export function printCosts(): void {
  const rows = Object.entries(costs).map(([name, { cpuMilliseconds, milliseconds, addedBytes }]) =>
    `${[cpuMilliseconds, milliseconds].map((ms) => `${Math.round(ms)} ms`.padStart(9)).join("")}${
      `${(addedBytes / 2 ** 20).toFixed(1)} MiB`.padStart(11)
    }  ${name}`
  );
  const head = `${"processor".padStart(9)}${"clock".padStart(9)}${"memory".padStart(11)}  attack`;
  console.log([head, ...rows].join("\n"));
}

async function measure(attack: () => unknown): Promise<Cost> {
  const before = Deno.memoryUsage().rss, started = performance.now(), cpu = process.cpuUsage();
  await attack();
  const { user, system } = process.cpuUsage(cpu);
  return {
    cpuMilliseconds: (user + system) / 1000,
    milliseconds: performance.now() - started,
    addedBytes: Deno.memoryUsage().rss - before,
  };
}

function isWithinBounds({ cpuMilliseconds, milliseconds, addedBytes }: Cost): boolean {
  return cpuMilliseconds <= MAX_CPU_MILLISECONDS && milliseconds <= MAX_MILLISECONDS &&
    addedBytes <= MAX_ADDED_BYTES;
}
