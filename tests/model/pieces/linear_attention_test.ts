/**
 * Tests that linear attention is the same in one dispatch and in several: for long windows, many states, and stored states. Also tests the
 * gradients of windows that do not run backwards at the same time.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend, DeviceBuffer } from "../../../src/device/backend.ts";
import {
  linearAttention,
  MAX_DISPATCH_TOKENS,
} from "../../../src/device/kernels/forward/linear_attention.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import { ForwardWorkspace } from "../../../src/model/forward_workspace.ts";
import type { BlockPass } from "../../../src/model/pieces/block_pass.ts";
import { allColumns } from "../../../src/model/pieces/columns_view.ts";
import { attendLinearly, type LinearHeads } from "../../../src/model/pieces/linear_attention.ts";
import { KeyValueCache } from "../../../src/model/pieces/key_value_cache.ts";
import { Tape } from "../../../src/model/pieces/tape.ts";
import { TapeWorkspace } from "../../../src/model/pieces/tape_workspace.ts";
import { asFloat32 } from "../../../src/tensor/host_tensor.ts";
import { runReference } from "../../reference/run_reference.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";

interface Size extends LinearHeads {
  readonly windows: number;
  readonly tokens: number;
  /** The limits of steps, by the rule of Mamba 2. By default, the rule is the gated delta rule. */
  readonly stepLimits?: readonly [min: number, max: number];
}

const operandsOf = ({ windows, tokens, heads, keyHeads, keyDim, valueDim }: Size) => ({
  qkv: signed(windows * tokens * (2 * keyHeads * keyDim + heads * valueDim), 1),
  a: signed(windows * tokens * heads, 2),
  b: signed(windows * tokens * heads, 3),
  head_vectors: signed(3 * heads, 4),
});

/** Computes the outputs from a state of zeros, as if one dispatch could do it. */
function expectedOutputs(size: Size): ArrayLike<number> {
  const { windows, tokens, heads, keyHeads, keyDim, valueDim, stepLimits } = size;
  const state = new Float32Array(windows * heads * keyDim * valueDim);
  const out = new Float32Array(windows * tokens * heads * valueDim);
  const sizes = { heads, key_heads: keyHeads, key_dim: keyDim, value_dim: valueDim };
  const rows = { batch: windows, tokens, first_row: 0, window_rows: tokens, rows: windows * tokens };
  const keys = keyHeads * keyDim,
    values = heads * valueDim,
    [min_step, max_step] = stepLimits ?? [0, Infinity];
  const rule = stepLimits
    ? { is_delta: 0, q_offset: values + keys, k_offset: values, v_offset: 0 }
    : { is_delta: 1, q_offset: 0, k_offset: keys, v_offset: 2 * keys };
  const params = { ...sizes, ...rows, ...rule, min_step, max_step, keeps_states: 0 };
  const { qkv, a, b, head_vectors } = operandsOf(size), gates = Float32Array.of(...a, ...b);
  return runReference(linearAttention, { qkv, gates, head_vectors, state, out }, params).out;
}

/** Computes the outputs on a backend. @param ends the last tokens of the passes, which have a cache. By default, there is one pass without one */
async function outputsOf(backend: Backend, size: Size, ends?: readonly number[]): Promise<Float32Array> {
  const { windows, tokens, heads, valueDim, stepLimits } = size, operands = operandsOf(size);
  const workspace = new ForwardWorkspace(backend), cache = ends && new KeyValueCache(backend, tokens);
  const upload = (name: string, values: Float32Array): DeviceBuffer => {
    const buffer = workspace.buffer(name, values.length);
    backend.write(buffer, 0, new Uint8Array(values.slice().buffer));
    return buffer;
  };
  const found: Float32Array[] = [];
  try {
    for (const [i, end] of (ends ?? [tokens]).entries()) {
      const first = ends?.[i - 1] ?? 0, count = end - first;
      const rowsOf = (values: Float32Array) => {
        const cols = values.length / (windows * tokens);
        return ends ? values.subarray(first * cols, end * cols) : values;
      };
      const pass = { backend, workspace, windows, tokens: count, rows: windows * count, cache };
      const y = attendLinearly(pass as unknown as BlockPass, {
        ...size,
        ...stepLimits ? { stepLimits } : { b: allColumns(upload("b", rowsOf(operands.b)), heads) },
        qkv: upload("qkv", rowsOf(operands.qkv)),
        a: allColumns(upload("a", rowsOf(operands.a)), heads),
        gateColumns: heads,
        headVectors: upload("head vectors", operands.head_vectors),
      });
      found.push(asFloat32(await backend.read(y, 0, 4 * windows * count * heads * valueDim)));
      if (cache) cache.past = end;
    }
  } finally {
    cache?.destroy();
    workspace.destroy();
  }
  return Float32Array.from(found.flatMap((values) => [...values]));
}

/** Computes the gradient of qkv for random gradients of the outputs, of one window or of all. */
async function gradientOf(backend: Backend, size: Size, window?: number): Promise<Float32Array> {
  const { windows, tokens, heads, valueDim, stepLimits } = size;
  const { head_vectors, ...operands } = operandsOf(size),
    d_out = signed(windows * tokens * heads * valueDim, 7);
  const workspace = new TapeWorkspace(backend), tape = new Tape(backend, workspace, () => undefined);
  const upload = (values: Float32Array): DeviceBuffer => {
    const buffer = workspace.buffer("operand", values.length);
    backend.write(buffer, 0, new Uint8Array(values.slice().buffer));
    return buffer;
  };
  const rowsOf = (values: Float32Array) => {
    const count = values.length / windows;
    return upload(window === undefined ? values : values.subarray(window * count, (window + 1) * count));
  };
  const count = window === undefined ? windows : 1, qkv = rowsOf(operands.qkv);
  const pass = { backend, workspace, windows: count, tokens, rows: count * tokens, tape };
  const out = attendLinearly(pass as unknown as BlockPass, {
    ...size,
    ...stepLimits ? { stepLimits } : { b: allColumns(rowsOf(operands.b), heads) },
    qkv,
    a: allColumns(rowsOf(operands.a), heads),
    gateColumns: heads,
    headVectors: upload(head_vectors),
  });
  backend.copy(rowsOf(d_out), 0, tape.gradient(out), 0, out.byteLength);
  tape.backward();
  const gradient = asFloat32(await backend.read(tape.gradient(qkv), 0, qkv.byteLength));
  workspace.destroy();
  return gradient;
}

const SMALL = { heads: 4, keyHeads: 2, keyDim: 6, valueDim: 5 };

const RULES = { "the gated delta rule": undefined, "the rule of Mamba 2": [0.3, Infinity] } as const;

for (const [rule, stepLimits] of Object.entries(RULES)) {
  eachBackend(`linear attention of a pass by ${rule}`, (backend) => {
    it("continues from dispatch to dispatch in windows of more tokens than a dispatch has", async () => {
      for (const tokens of [MAX_DISPATCH_TOKENS, MAX_DISPATCH_TOKENS + 1, 2 * MAX_DISPATCH_TOKENS + 7]) {
        const size = { ...SMALL, stepLimits, windows: 3, tokens };
        assertClose(await outputsOf(backend(), size), expectedOutputs(size), 4e-6);
      }
    });

    it("starts each window with a state of zeros, if the states of all windows together are too large", async () => {
      const size = {
        stepLimits,
        windows: 4,
        tokens: 2,
        heads: 1,
        keyHeads: 1,
        keyDim: 250,
        valueDim: 20_001,
      };
      assertClose(await outputsOf(backend(), size), expectedOutputs(size), 4e-6);
    });

    it("has the gradients of each window alone, if the states of all windows together are too large", async () => {
      const size = {
        stepLimits,
        windows: 2,
        tokens: 1,
        heads: 1,
        keyHeads: 1,
        keyDim: 250,
        valueDim: 17_000,
      };
      const [first, second] = [await gradientOf(backend(), size, 0), await gradientOf(backend(), size, 1)];
      assert.ok([first, second].every((gradient) => gradient.every((value) => value !== 0)));
      assertSame(await gradientOf(backend(), size), Float32Array.of(...first, ...second));
    });

    it("continues from pass to pass with the state in a cache", async () => {
      const size = { ...SMALL, stepLimits, windows: 1, tokens: 120 };
      assertClose(await outputsOf(backend(), size, [5, 110, 111, 120]), expectedOutputs(size), 4e-6);
    });
  });
}
