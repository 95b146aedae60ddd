/** The residual stream: the hidden states of a block, to which each half of the block adds its outputs. */

import type { DeviceBuffer } from "../../device/backend.ts";
import { addRows } from "../../device/kernels/forward/rows.ts";
import type { LinearGroup, NormSpec } from "../layer_specs.ts";
import type { BlockPass } from "./block_pass.ts";
import { applyLinear } from "./linear.ts";
import { normalize } from "./norm.ts";

/** Applied to outputs before they are added to the stream. By default, they are added unchanged. */
export interface ResidualOptions {
  /** The norm that is applied to the outputs. */
  readonly norm?: NormSpec;
  /** The factor of the outputs, after the norm. */
  readonly scale?: number;
}

/** Queues stream += scale·norm(y), where `y` and `stream` are (rows, columns) f32. */
export function addToStream(
  pass: BlockPass,
  y: DeviceBuffer,
  stream: DeviceBuffer,
  columns: number,
  { norm, scale = 1 }: ResidualOptions,
): void {
  const x = norm ? normalize(pass, norm, y) : y;
  pass.tape?.beforeChange(stream);
  addScaled(pass, x, stream, columns, scale);
  pass.tape?.record(stream, (gradient) => addScaled(pass, gradient, pass.tape!.gradient(x), columns, scale));
}

/** Queues y += scale·x, where both are (rows, columns) f32, without a record on the tape. */
function addScaled(
  { backend, workspace: { placeholder }, rows }: BlockPass,
  x: DeviceBuffer,
  y: DeviceBuffer,
  cols: number,
  scale: number,
): void {
  const buffers = { x, index: placeholder, factors: placeholder, y };
  backend.dispatch(addRows, buffers, { rows, cols, offset: 0, has_index: 0, scale });
}

/** Queues stream *= factor, where `stream` is (rows, columns) f32. The factor gets no gradient. */
export function scaleStream(
  pass: BlockPass,
  stream: DeviceBuffer,
  columns: number,
  factor: number,
): void {
  const { backend, workspace, rows, tape } = pass;
  const count = rows * columns, scaled = workspace.buffer("scaled stream", count);
  const scale = (x: DeviceBuffer) => {
    backend.clear(scaled);
    addScaled(pass, x, scaled, columns, factor);
    backend.copy(scaled, 0, x, 0, 4 * count);
  };
  tape?.beforeChange(stream);
  scale(stream);
  tape?.record(stream, scale);
}

/**
 * Queues stream += scale·norm(x·Wᵀ + b) for the only layer of `group`, after passing `x` to
 * `pass.observeInput` and before passing the stream to `pass.observeOutput`. If `pass` skips the group, the layer is not queued.
 * @param x (rows, inFeatures) f32
 * @param stream (rows, outFeatures) f32
 */
export function accumulateGroup(
  pass: BlockPass,
  group: LinearGroup,
  x: DeviceBuffer,
  stream: DeviceBuffer,
  options: ResidualOptions = {},
): void {
  // A norm of the outputs is not linear, so no output gives the stream a wanted change.
  const residual = options.norm ? undefined : { stream, scale: options.scale ?? 1 };
  pass.observeInput?.(group, x, pass.rows, residual);
  if (pass.skippedGroups?.includes(group)) return;
  const [spec] = group;
  if (!options.norm && options.scale === undefined) {
    applyLinear(pass, spec, x, 0, pass.rows, stream, { accumulate: true });
  } else {
    const y = pass.workspace.buffer(spec.name, pass.rows * spec.outFeatures);
    applyLinear(pass, spec, x, 0, pass.rows, y);
    addToStream(pass, y, stream, spec.outFeatures, options);
  }
  if (residual && pass.observeOutput) {
    pass.observeOutput(group, { ...residual, bias: pass.weights.linear(spec).bias });
  }
}
