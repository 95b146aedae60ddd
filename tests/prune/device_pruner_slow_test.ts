/**
 * Tests that `DevicePruner`, which gives the matrices of the device to the solver, gives the same bytes, reports, notes
 * and errors as a host that receives the layers by `POST /v1/layers`.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend, BackendCounters } from "../../src/device/backend.ts";
import { HessianAccumulator } from "../../src/layer/calibration/hessian.ts";
import { PareError } from "../../src/client/errors.ts";
import type { LayerEvent } from "../../src/protocol/run/solve_round.ts";
import { type LayerGroup, ModelPruner, type ModelSource } from "../../src/client/model_pruner.ts";
import type { RoundSolver } from "../../src/prune/steps.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import type { HostTensor, QuantizedWeight } from "../../src/tensor/host_tensor.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { upload } from "../support/device.ts";
import { openLocalHost } from "../support/local_host.ts";
import { normals } from "../../scripts/fixtures/random.ts";

/** A group of layers with the same input. */
interface Group {
  readonly cols: number;
  readonly tokens: number;
  /** The number of held-out tokens. @default none */
  readonly heldOut?: number;
  /** Whether not all tokens reach the layers, as for an expert. */
  readonly isExpert?: boolean;
  readonly layers: readonly (readonly [rows: number, dtype: FloatDtype])[];
  /** The magnitude of the inputs and of the weights. @default 1 */
  readonly scale?: readonly [inputs: number, weights: number];
}

const GROUPS: readonly Group[] = [
  { cols: 40, tokens: 90, layers: [[24, "F16"], [8, "F16"], [8, "F16"]] },
  { cols: 36, tokens: 50, layers: [[32, "BF16"]] },
  { cols: 48, tokens: 5, isExpert: true, layers: [[16, "F32"], [16, "F32"]] },
  { cols: 24, tokens: 0, isExpert: true, layers: [[20, "F32"]] },
];

/** The same groups, of which all but the last have held-out tokens. */
const VALIDATED = GROUPS.map((group, g) => ({ ...group, heldOut: [30, 60, 4, 0][g] }));

/** Returns the layers as one round. Their replacements are added to `replaced`. */
function source(
  backend: Backend,
  groups: readonly Group[],
  replaced = new Map<string, readonly [HostTensor, QuantizedWeight | undefined]>(),
): ModelSource<HessianAccumulator> {
  return {
    layerCount: groups.flatMap(({ layers }) => layers).length,
    async *groups() {
      for (
        const [g, group] of groups.entries()
      ) {
        const { cols, tokens, heldOut = 0, isExpert, layers, scale: [inputs, weights] = [1, 1] } = group;
        const sumOf = (count: number, seed: number) => {
          const hessian = new HessianAccumulator(backend, `hessian ${g}`, cols);
          // The first input is dead.
          const x = normals(count * cols, seed).map((value, i) => i % cols === 0 ? 0 : value * inputs);
          const buffer = upload(backend, x, "inputs");
          hessian.add(buffer, count);
          buffer.destroy();
          return hessian;
        };
        const hessian = tokens > 0 ? sumOf(tokens, g) : new HessianAccumulator(backend, `hessian ${g}`, cols);
        if (tokens === 0) hessian.setIdentity();
        const validationHessian = heldOut > 0 ? sumOf(heldOut, 100 + g) : undefined;
        yield {
          block: 0,
          hessian,
          validationHessian,
          ...isExpert && { tokens },
          layers: layers.map(([rows, dtype], i) => {
            const values = normals(rows * cols, 10 * g + i).map((value) => value * weights);
            return {
              name: `${g}.${i}`,
              weight: { dtype, shape: [rows, cols], data: floatsToBytes(values, dtype) },
            };
          }),
          hasMoreInRound: g < groups.length - 1,
          replace: (name, weight, quantized) => Promise.resolve(void replaced.set(name, [weight, quantized])),
        } satisfies LayerGroup<HessianAccumulator>;
        hessian.destroy();
        validationHessian?.destroy();
      }
    },
  };
}

/** Prunes models by a solver of rounds. */
class Rounds extends ModelPruner<HessianAccumulator> {
  constructor(readonly solveRound: RoundSolver["solveRound"]) {
    super();
  }
}

/** Prunes the groups. Returns the events without times, and the replacements. */
async function prune(
  pruner: RoundSolver,
  backend: Backend,
  groups: readonly Group[],
  query: LayerQuery,
) {
  const replaced = new Map<string, readonly [HostTensor, QuantizedWeight | undefined]>(),
    events: unknown[] = [];
  const model = source(backend, groups, replaced);
  for await (const event of new Rounds(pruner.solveRound).pruneModel(model, query)) {
    if (event.type !== "layer") continue;
    const { seconds, ...report } = event.report;
    assert.deepEqual(Object.keys(seconds), ["read", "factor", "solve", "refit", "total"]);
    events.push({ ...event, report });
  }
  return { events, replaced };
}

const QUERIES: readonly LayerQuery[] = [
  { method: "sparsegpt" },
  { method: "sparsegpt", blocksize: 20, damping: 0.1, error: false },
  { method: "sparsegpt", pattern: "2:4", refit: 5 },
  { method: "sparsegpt", sparsity: 0, bits: 4, group_size: 8, symmetric: true },
  { method: "sparsegpt", bits: 3, order: "activation" },
  { method: "wanda", pattern: "2:4" },
  { method: "wanda", sparsity: 0.6, dtype: "F32", bits: 8 },
  { method: "alps", sparsity: 0.7 },
  { method: "alps", bits: 4 },
  { method: "obc" },
  { method: "adaprune" },
  { method: "magnitude" },
  { method: "magnitude", bits: 4 },
];

eachBackend("DevicePruner", (backend) => {
  for (const query of QUERIES) {
    it(`gives the bytes and the reports of a host with ${JSON.stringify(query)}`, async () => {
      const host = await openLocalHost(backend()), { bytesLive } = backend().counters;
      const remote = await prune(serverPruner(host.pare), backend(), GROUPS, query);
      const direct = await prune(host.pruner, backend(), GROUPS, query);
      assert.equal(direct.events.length, 7);
      assertSame(direct, remote);
      assert.equal(backend().counters.bytesLive, bytesLive);
    });
  }

  for (const query of QUERIES) {
    it(`sends validation statistics to a host with ${JSON.stringify(query)}`, async () => {
      const host = await openLocalHost(backend()), { bytesLive } = backend().counters;
      const remote = await prune(serverPruner(host.pare), backend(), VALIDATED, query);
      const direct = await prune(host.pruner, backend(), VALIDATED, query);
      assertSame(direct, remote);
      const validated = (direct.events as LayerEvent[]).filter(({ report }) => "validation_loss" in report);
      assert.deepEqual(validated.map(({ name }) => name[0]), ["0", "0", "0", "1", "2", "2"]);
      assert.equal(backend().counters.bytesLive, bytesLive);
    });
  }

  it("gives the notes of a host if the weights are scaled, or if the damping outweighs the error", async () => {
    const host = await openLocalHost(backend());
    const groups: Group[] = [
      { cols: 32, tokens: 60, layers: [[8, "F32"], [8, "F32"]], scale: [1e-12, 1e-10] },
      { cols: 32, tokens: 60, layers: [[8, "F32"]], scale: [1e-18, 1e-20] },
      { cols: 32, tokens: 60, layers: [[8, "F32"]], scale: [1e4, 1e16] },
    ];
    for (const query of [{ method: "sparsegpt" }, { method: "alps", damping: 1 }] as const) {
      const direct = await prune(host.pruner, backend(), groups, query);
      assertSame(direct, await prune(serverPruner(host.pare), backend(), groups, query));
      assert.ok(JSON.stringify(direct.events).includes("not reported"));
    }
  });

  it("reads the tensors of a single layer as a host does", async () => {
    const host = await openLocalHost(backend()), rows = 16, cols = 40;
    const tensor = (shape: number[], seed: number): HostTensor => (
      { dtype: "F16", shape, data: floatsToBytes(normals(shape[0] * shape[1], seed), "F16") }
    );
    const mask: HostTensor = {
      dtype: "U8",
      shape: [rows, cols / 8],
      data: new Uint8Array(rows * cols / 8).fill(0xee),
    };
    const layer = { weight: tensor([rows, cols], 1), inputs: tensor([100, cols], 2), mask };
    for (const query of [{}, { bits: 4 }] as const) {
      const { report: { seconds: _, ...report }, ...direct } = await host.pruner.pruneLayer(layer, query);
      const { report: { seconds: __, ...remoteReport }, ...remote } = await host.pare.pruneLayer(
        layer,
        query,
      );
      assert.deepEqual([direct, report], [remote, remoteReport]);
    }
    const given = { ...layer, other: layer.weight };
    for (
      const wrong of [given, { weight: mask }, { ...layer, inputs: tensor([100, 8], 2) }, {
        weight: layer.weight,
      }]
    ) {
      await assertSameError(() => host.pruner.pruneLayer(wrong), () => host.pare.pruneLayer(wrong));
    }
  });

  const broken: Readonly<Record<string, readonly [groups: Group[], query: LayerQuery, code: string]>> = {
    "a weight that is not finite": [
      [{ cols: 8, tokens: 9, layers: [[4, "F16"]], scale: [1, 1e9] }],
      {},
      "non_finite",
    ],
    "statistics that overflowed": [
      [{ cols: 8, tokens: 9, layers: [[4, "F32"], [4, "F32"]], scale: [1e30, 1] }],
      {},
      "non_finite",
    ],
    "an answer that overflows its dtype": [
      [{ cols: 8, tokens: 9, layers: [[4, "F32"]], scale: [1, 1e9] }],
      { dtype: "F16" },
      "non_finite",
    ],
    "a layer that is too large for its method": [
      [{ cols: 3200, tokens: 1, layers: [[1, "F32"]] }],
      { method: "obc" },
      "unsupported",
    ],
    "parameters that contradict each other": [
      [{ cols: 8, tokens: 9, layers: [[4, "F32"]] }],
      { pattern: "2:4", sparsity: 0.3 },
      "invalid_parameter",
    ],
  };
  for (const [what, [groups, query, code]] of Object.entries(broken)) {
    it(`refuses ${what} with the words of a host, and frees its memory`, async () => {
      const host = await openLocalHost(backend()), { bytesLive } = backend().counters;
      await assertSameError(
        () => prune(host.pruner, backend(), groups, query),
        () => prune(serverPruner(host.pare), backend(), groups, query),
        code,
      );
      await backend().finish();
      assert.equal(backend().counters.bytesLive, bytesLive);
    });
  }

  it("needs no more device memory than a host", async () => {
    const host = await openLocalHost(backend()), counters: BackendCounters = backend().counters;
    const groups: Group[] = [
      { cols: 256, tokens: 300, layers: [[256, "F32"], [256, "F32"]] },
      { cols: 384, tokens: 400, layers: [[128, "F32"]] },
    ];
    for (const query of [{ method: "sparsegpt" }, { method: "wanda" }, { bits: 4, refit: 1 }] as const) {
      const peaks: number[] = [];
      for (const pruner of [host.pruner, serverPruner(host.pare)]) {
        counters.bytesPeak = 0;
        await prune(pruner, backend(), groups, query);
        peaks.push(counters.bytesPeak);
      }
      // The extreme weights, 4 KiB, are measured before or after the peak of the factorisation, as the threads happen to run.
      const limit = peaks[1] + 2 ** 12;
      assert.ok(peaks[0] > 2 ** 19 && peaks[0] <= limit, `${peaks[0]} bytes instead of ${peaks[1]}`);
    }
  });

  it("stops as soon as its signal is aborted, and frees its memory", async () => {
    const host = await openLocalHost(backend()), { bytesLive } = backend().counters;
    const controller = new AbortController(), { signal } = controller;
    const run = new Rounds(host.pruner.solveRound).pruneModel(source(backend(), GROUPS), {}, { signal });
    await assert.rejects(async () => {
      for await (const event of run) if (event.type === "layer") controller.abort(new Error("enough"));
    }, /enough/);
    for (let tries = 0; backend().counters.bytesLive > bytesLive && tries < 100; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(backend().counters.bytesLive, bytesLive);
  });
});

/** Checks that both calls throw the same `PareError`. */
async function assertSameError(
  direct: () => Promise<unknown>,
  remote: () => Promise<unknown>,
  code?: string,
): Promise<void> {
  const [a, b] = await Promise.all(
    [direct, remote].map((call) => call().then(() => assert.fail(), (error) => error)),
  );
  assert.ok(a instanceof PareError && b instanceof PareError, `${a} ${b}`);
  assert.deepEqual([a.message, a.code, a.status, a.isTransient], [
    b.message,
    b.code,
    b.status,
    b.isTransient,
  ]);
  if (code !== undefined) assert.equal(a.code, code);
}
