/**
 * Tests solves with validation statistics: the figures of the report against float64 sums, and that the answer
 * is not worse than the two simplest results on these statistics, for every method, pattern and rounding.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { METHOD_NAMES } from "../../src/protocol/methods.ts";
import { referenceMagnitude } from "../reference/sparsegpt.ts";
import { nearestOnMask, rowLosses } from "../reference/validation.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { compressHost } from "../support/compress_host.ts";
import { makeLayer } from "../support/layers.ts";
import { uniform } from "../../scripts/fixtures/random.ts";

const ROWS = 23, COLS = 71, EDGE = 32, DEAD = [0, 40];
const next = uniform(6);
// Few tokens calibrate the layer, so a method that fits them is often worse on the validation statistics.
const base = makeLayer(ROWS, COLS, { seed: 1, tokens: 60, dead: DEAD });
const forced = Uint8Array.from(base.weight, () => Number(next() < 0.1));
const validation = makeLayer(ROWS, COLS, { seed: 9, tokens: 300 }).hessian;

const UNSTRUCTURED = { kind: "unstructured" } as const,
  TWO_OF_FOUR = { kind: "n:m", keep: 2, group: 4 } as const;
const ROUND_ROWS = { bits: 3, groupSize: 0, symmetric: false, order: "natural" } as const;
const ROUND_GROUPS = { bits: 4, groupSize: 16, symmetric: false, order: "natural" } as const;

eachBackend("compressLayer() with validation statistics", (backend) => {
  for (const method of METHOD_NAMES) {
    for (const pattern of [UNSTRUCTURED, TWO_OF_FOUR]) {
      for (const quantization of [undefined, ROUND_ROWS, ROUND_GROUPS]) {
        const rounding = quantization ? `${quantization.bits} bits` : "no rounding";
        it(`is not worse than the simplest results by ${method} (${pattern.kind}, ${rounding})`, async () => {
          const sparsity = 0.5, groups = pattern.kind === "n:m" ? pattern : undefined;
          for (const refitSteps of method === "adaprune" ? [5] : [0, 5]) {
            for (const isForced of [false, true]) {
              const host = isForced ? { ...base, forced } : base, effort = "fast";
              const options = { method, pattern, sparsity, refitSteps, quantization, effort } as const;
              const { report, q, mask } = await compressHost(
                backend(),
                { ...host, validation },
                options,
                EDGE,
              );
              const losses = rowLosses(host.weight, q, validation, COLS),
                loss = losses.reduce((a, b) => a + b);
              const nearest = nearestOnMask(host.weight, mask, COLS, quantization);
              rowLosses(host.weight, nearest, validation, COLS).forEach((other, row) => {
                assert.ok(losses[row] <= other * (1 + 1e-4), `row ${row}: ${losses[row]}, nearest ${other}`);
              });
              const magnitude = referenceMagnitude(host, { sparsity, groups });
              const other = rowLosses(
                host.weight,
                nearestOnMask(host.weight, magnitude.mask, COLS, quantization),
                validation,
                COLS,
              ).reduce((a, b) => a + b);
              assert.ok(loss <= other * (1 + 1e-4), `${loss}, magnitude ${other}`);
              if (report.validation_choice === "magnitude") assertSame(mask, magnitude.mask);
            }
          }
        });
      }
    }
  }
});
