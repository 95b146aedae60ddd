/** The backward pass of attention. */

import type { DeviceBuffer } from "../../../device/backend.ts";
import {
  attentionKeysBackward,
  attentionQueriesBackward,
  attentionValuesBackward,
} from "../../../device/kernels/training/attention_backward.ts";
import { attentionStatistics } from "../../../device/kernels/training/attention_statistics.ts";
import type { Tape } from "../tape.ts";

/** Records attention without earlier tokens. The slopes and the sinks get no gradient. @param params those of `attention` */
export function recordAttention(
  tape: Tape,
  { q, k, v, slopes, sinks, out }: Readonly<
    Record<"q" | "k" | "v" | "slopes" | "sinks" | "out", DeviceBuffer>
  >,
  params: Parameters<typeof attentionStatistics.shader.grid>[0],
): void {
  const { backend, workspace } = tape, saved = [q, k, v].map((buffer) => tape.save(buffer));
  tape.record(out, (d_out) => {
    const [savedQ, savedK, savedV] = saved.map(({ buffer }) => buffer);
    const rows = params.batch * params.tokens;
    const statistics = workspace.buffer("attention statistics", 2 * params.heads * rows);
    const known = { q: savedQ, k: savedK, slopes, sinks, out, d_out };
    backend.dispatch(attentionStatistics, { ...known, statistics }, params);
    const operands = { q: savedQ, k: savedK, v: savedV, slopes, d_out, statistics };
    backend.dispatch(attentionQueriesBackward, { ...operands, gradient: tape.gradient(q) }, params);
    backend.dispatch(attentionKeysBackward, { ...operands, gradient: tape.gradient(k) }, params);
    backend.dispatch(attentionValuesBackward, { ...operands, gradient: tape.gradient(v) }, params);
  });
}
