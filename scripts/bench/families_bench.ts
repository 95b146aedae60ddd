/**
 * Measures how far the logits and the statistics of every family are from those that transformers computes in float64,
 * on the small models in `tests/fixtures/families`. The difference of two lists of numbers is the largest one, relative
 * to the largest number.
 */

import { openBackend } from "../../src/cli/open_backend.ts";
import type { Backend } from "../../src/device/backend.ts";
import { denseStatistics } from "../../tests/support/dense_statistics.ts";
import { type FamilyFixture, familyNames, readFamilyFixture } from "../../tests/support/family_fixtures.ts";
import { windowLogits } from "../../tests/support/logits.ts";
import type { Bench } from "./bench.ts";
import { markdownTable } from "./report/markdown_table.ts";

/** The largest accepted difference. */
const LIMIT = 1e-5;

const KINDS = ["cpu", "webgpu"] as const;

/** The largest differences of all models of a family. */
interface Differences {
  readonly logits: number;
  readonly hessians: number;
}

interface FamilyRow {
  readonly family: string;
  /** The number of models, which differ in their settings. */
  readonly models: number;
  readonly on: Readonly<Record<(typeof KINDS)[number], Differences>>;
}

interface FamiliesResults {
  readonly rows: readonly FamilyRow[];
}

export const bench: Bench<object, FamiliesResults> = {
  description: "the differences from transformers in logits and statistics, for every family",
  async measure(_options, { save }) {
    await using cleanup = new AsyncDisposableStack();
    const [cpu, webgpu] = await Promise.all(
      KINDS.map(async (kind) => cleanup.adopt(await openBackend(kind), (backend) => backend.dispose())),
    );
    const rows: FamilyRow[] = [];
    for (const family of familyNames()) {
      const fixture = await readFamilyFixture(family);
      const on = { cpu: await compareFamily(fixture, cpu), webgpu: await compareFamily(fixture, webgpu) };
      rows.push({ family, models: fixture.variants.length, on });
      console.error(`${family}: ${JSON.stringify(on)}`);
    }
    const adapter = `${cpu.adapter.name}; ${webgpu.adapter.name}`;
    await save({ backend: KINDS.join(), adapter }, { rows });
    return { rows };
  },
  passes: ({ rows }) =>
    rows.every(({ on }) => KINDS.every((kind) => Math.max(on[kind].logits, on[kind].hessians) <= LIMIT)),
  tables: {
    differences: ({ rows }) =>
      markdownTable<FamilyRow>([
        ["`model_type`", ({ family }) => `\`${family}\``],
        ["models", ({ models }) => `${models}`],
        ...KINDS.flatMap((kind) =>
          (["logits", "hessians"] as const).map((what) =>
            [`${what === "logits" ? what : "statistics"} on ${kind}`, ({ on }: FamilyRow) =>
              on[kind][what].toExponential(1)] as const
          )
        ),
      ], rows),
  },
};

async function compareFamily({ windows, variants }: FamilyFixture, backend: Backend): Promise<Differences> {
  let logits = 0, hessians = 0;
  for (const variant of variants) {
    const actual: number[] = [];
    for (const window of windows) actual.push(...await windowLogits(variant.model, backend, window));
    logits = Math.max(logits, differenceOf(actual, variant.logits));
    const statistics = await denseStatistics(variant.model, backend, windows);
    for (const [layer, expected] of variant.hessians) {
      if (variant.tokens.get(layer) === 0) continue;
      hessians = Math.max(hessians, differenceOf(statistics.hessians.get(layer)!, expected));
    }
  }
  return { logits, hessians };
}

function differenceOf(actual: ArrayLike<number>, expected: Float32Array): number {
  let largest = 0, difference = 0;
  for (const [i, value] of expected.entries()) {
    largest = Math.max(largest, Math.abs(value));
    difference = Math.max(difference, Math.abs(actual[i] - value));
  }
  return difference / largest;
}
