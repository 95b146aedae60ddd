/** The backward passes of linear attention and of the convolution before it. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { linearAttention, MAX_DISPATCH_TOKENS } from "../../device/kernels/forward/linear_attention.ts";
import { causalConvolutionBackward } from "../../device/kernels/training/causal_convolution_backward.ts";
import {
  linearAttentionInputsBackward,
  linearAttentionStatesBackward,
} from "../../device/kernels/training/linear_attention_backward.ts";
import type { Tape } from "./tape.ts";

/** The most bytes of states of windows that run backwards at the same time. A single window may have more. */
const STATE_BYTES = 128 << 20;

/** Records the convolution of some channels. The weights get no gradient. @param params as for `causalConvolutionBackward` */
export function recordConvolution(
  tape: Tape,
  { x, weight, y }: Readonly<Record<"x" | "weight" | "y", DeviceBuffer>>,
  params: Parameters<typeof causalConvolutionBackward.shader.grid>[0],
): void {
  tape.record(y, (gradient) => {
    const buffers = { weight, gradient, x_gradient: tape.gradient(x) };
    tape.backend.dispatch(causalConvolutionBackward, buffers, params);
  });
}

/**
 * Records linear attention from states of 0. The vectors of the heads get no gradient. The backward pass divides the T tokens of a window
 * into about √(2T) chunks. It computes the states before each chunk, and then, from the last chunk back, the states of all tokens of the
 * chunk and their gradients. So it stores about 3·√T states per window.
 * @param params as for `linearAttention`, for all tokens of a window, which has `window_rows` rows
 */
export function recordLinearAttention(
  tape: Tape,
  { qkv, gates, head_vectors }: Readonly<Record<"qkv" | "gates" | "head_vectors", DeviceBuffer>>,
  out: DeviceBuffer,
  params: Omit<
    Parameters<typeof linearAttention.shader.grid>[0],
    "batch" | "tokens" | "first_row" | "keeps_states"
  >,
  windows: number,
): void {
  const { backend, workspace } = tape,
    [savedQkv, savedGates] = [qkv, gates].map((buffer) => tape.save(buffer));
  tape.record(out, (d_out) => {
    const { window_rows: tokens, heads, key_dim, value_dim } = params,
      stateSize = heads * key_dim * value_dim;
    const mostStates = Math.floor(backend.maxBufferBytes / (4 * stateSize)) - 1;
    const chunk = Math.max(1, Math.min(Math.ceil(Math.sqrt(tokens / 2)), MAX_DISPATCH_TOKENS, mostStates));
    const chunks = Math.ceil(tokens / chunk), statesOfWindow = 2 * (chunk + 1) + chunks;
    const together = Math.min(
      windows,
      Math.max(1, Math.floor(STATE_BYTES / (4 * stateSize * statesOfWindow))),
    );
    const buffer = (name: string, states: number) => workspace.buffer(name, states * together * stateSize);
    const states = buffer("states of a chunk", chunk + 1),
      gradients = buffer("gradients of states", chunk + 1);
    const firstStates = Array.from({ length: chunks }, () => buffer("states before a chunk", 1));
    const recomputed = workspace.buffer("recomputed linear attention", out.byteLength / 4);
    const operands = { qkv: savedQkv.buffer, gates: savedGates.buffer, head_vectors };
    for (let window = 0; window < windows; window += together) {
      const batch = Math.min(together, windows - window), bytes = 4 * batch * stateSize;
      const paramsOf = (index: number, keeps_states: number) => {
        const first = index * chunk, first_row = window * tokens + first;
        return { ...params, batch, tokens: Math.min(chunk, tokens - first), first_row, keeps_states };
      };
      const attend = (state: DeviceBuffer, params: ReturnType<typeof paramsOf>) =>
        backend.dispatch(linearAttention, { ...operands, state, out: recomputed }, params);
      for (const [index, state] of firstStates.entries()) {
        if (index === 0) {
          backend.clear(state);
        } else {
          backend.copy(firstStates[index - 1], 0, state, 0, bytes);
          attend(state, paramsOf(index - 1, 0));
        }
      }
      backend.clear(gradients);
      for (const [index, state] of [...firstStates.entries()].reverse()) {
        const chunkParams = paramsOf(index, 1);
        backend.copy(state, 0, states, 0, bytes);
        attend(states, chunkParams);
        const known = { ...operands, d_out }, d_qkv = tape.gradient(qkv);
        backend.dispatch(
          linearAttentionStatesBackward,
          { ...known, state_gradients: gradients, d_qkv },
          chunkParams,
        );
        const buffers = {
          ...known,
          states,
          state_gradients: gradients,
          d_qkv,
          d_gates: tape.gradient(gates),
        };
        backend.dispatch(linearAttentionInputsBackward, buffers, chunkParams);
        // The first states are the last states of the chunk before. Their gradients pass through `state`, as no buffer is copied to itself.
        backend.copy(gradients, 0, state, 0, bytes);
        backend.copy(state, 0, gradients, chunk * bytes, bytes);
      }
    }
  });
}
