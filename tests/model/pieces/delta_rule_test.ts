/** Tests that the gated delta rule is the same in one dispatch and in several: for long windows, many states, and stored states. */

import { it } from "@std/testing/bdd";
import type { Backend, DeviceBuffer } from "../../../src/device/backend.ts";
import { gatedDelta, MAX_DELTA_TOKENS } from "../../../src/device/kernels/forward/gated_delta.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import { ForwardWorkspace } from "../../../src/model/forward_workspace.ts";
import type { BlockPass } from "../../../src/model/pieces/block_pass.ts";
import { allColumns } from "../../../src/model/pieces/columns_view.ts";
import { applyDeltaRule, type DeltaSizes } from "../../../src/model/pieces/delta_rule.ts";
import { KeyValueCache } from "../../../src/model/pieces/key_value_cache.ts";
import { asFloat32 } from "../../../src/tensor/host_tensor.ts";
import { runReference } from "../../reference/run_reference.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";

interface Size extends DeltaSizes {
  readonly windows: number;
  readonly tokens: number;
}

const operandsOf = ({ windows, tokens, heads, keyHeads, keyDim, valueDim }: Size) => ({
  qkv: signed(windows * tokens * (2 * keyHeads * keyDim + heads * valueDim), 1),
  a: signed(windows * tokens * heads, 2),
  b: signed(windows * tokens * heads, 3),
  a_log: signed(heads, 4),
  dt_bias: signed(heads, 5),
});

/** Computes the outputs from a state of zeros, as if one dispatch could do it. */
function expectedOutputs(size: Size): ArrayLike<number> {
  const { windows, tokens, heads, keyHeads, keyDim, valueDim } = size;
  const state = new Float32Array(windows * heads * keyDim * valueDim);
  const out = new Float32Array(windows * tokens * heads * valueDim);
  const sizes = { heads, key_heads: keyHeads, key_dim: keyDim, value_dim: valueDim };
  const rows = { batch: windows, tokens, first_row: 0, window_rows: tokens };
  const gates = { a_offset: 0, lda: heads, b_offset: 0, ldb: heads, gate_stride: heads / keyHeads };
  return runReference(gatedDelta, { ...operandsOf(size), state, out }, { ...sizes, ...rows, ...gates }).out;
}

/** Computes the outputs on a backend. @param ends the last tokens of the passes, which have a cache. By default, there is one pass without one */
async function outputsOf(backend: Backend, size: Size, ends?: readonly number[]): Promise<Float32Array> {
  const { windows, tokens, heads, keyHeads, valueDim } = size, operands = operandsOf(size);
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
      const y = applyDeltaRule(pass as unknown as BlockPass, {
        ...size,
        qkv: upload("qkv", rowsOf(operands.qkv)),
        a: allColumns(upload("a", rowsOf(operands.a)), heads),
        b: allColumns(upload("b", rowsOf(operands.b)), heads),
        gateStride: heads / keyHeads,
        aLog: upload("a_log", operands.a_log),
        dtBias: upload("dt_bias", operands.dt_bias),
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

const SMALL = { heads: 4, keyHeads: 2, keyDim: 6, valueDim: 5 };

eachBackend("the gated delta rule of a pass", (backend) => {
  it("continues from dispatch to dispatch in windows of more tokens than a dispatch has", async () => {
    for (const tokens of [MAX_DELTA_TOKENS, MAX_DELTA_TOKENS + 1, 2 * MAX_DELTA_TOKENS + 7]) {
      const size = { ...SMALL, windows: 3, tokens };
      assertClose(await outputsOf(backend(), size), expectedOutputs(size), 4e-6);
    }
  });

  it("starts each window with a state of zeros, if the states of all windows together are too large", async () => {
    const size = { windows: 4, tokens: 2, heads: 1, keyHeads: 1, keyDim: 250, valueDim: 20_001 };
    assertClose(await outputsOf(backend(), size), expectedOutputs(size), 4e-6);
  });

  it("continues from pass to pass with the state in a cache", async () => {
    const size = { ...SMALL, windows: 1, tokens: 120 };
    assertClose(await outputsOf(backend(), size, [5, 110, 111, 120]), expectedOutputs(size), 4e-6);
  });
});
