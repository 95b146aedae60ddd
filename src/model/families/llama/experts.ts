/**
 * A mixture of experts in the place of a feed-forward network. An expert is a small gated network. A router
 * sends each token to a few experts, whose outputs are added with factors of the router. The router stays
 * dense. Checkpoints have one tensor per layer and expert, which is the layout that transformers writes.
 */

import type { DeviceBuffer } from "../../../device/backend.ts";
import { asFloat32 } from "../../../tensor/host_tensor.ts";
import type { Activation, BlockPass } from "../../pieces/block_pass.ts";
import { allColumns } from "../../pieces/columns_view.ts";
import {
  applyClampedGate,
  applyGate,
  applyGroup,
  applyLinear,
  type ClampedGate,
} from "../../pieces/linear.ts";
import { addToStream, type ResidualOptions } from "../../pieces/residual.ts";
import { addToRows, copyRows } from "../../pieces/rows.ts";
import { type Routes, routeTokens } from "../../pieces/routing.ts";
import { type LinearGroup, type LinearSpec, linearSpec, roleOf } from "../../layer_specs.ts";
import type { MixtureTraits } from "../family.ts";
import type { FeedForward } from "./feed_forward.ts";

/** The sizes, the names and the rule of a mixture of experts. */
export interface ExpertsSpec extends MixtureTraits {
  readonly hidden: number;
  readonly activation: Activation;
  /** The name of the mixture in a block, which comes before `.gate` and `.experts`. */
  readonly name: string;
  /** The names of an expert's layers. Without `up`, the layer `gate` computes both. */
  readonly layers: { readonly gate: string; readonly up?: string; readonly down: string };
  /** The name of the router in the mixture. Defaults to `gate`. */
  readonly router?: string;
  /** Whether the router and the layers of the experts have biases. Defaults to false. */
  readonly hasBiases?: boolean;
  /** As in `LinearSpec`, for the layers of the experts. */
  readonly isTransposed?: boolean;
  /** A limited gate, whose elements are beside those of `up`. By default, the gate has no limit and comes before `up`. */
  readonly clampedGate?: ClampedGate;
}

interface Expert {
  readonly gateUp: LinearGroup;
  readonly down: LinearGroup;
}

export function mixtureOfExperts(spec: ExpertsSpec): FeedForward {
  const router = linearSpec(
    `${spec.name}.${spec.router ?? "gate"}`,
    spec.hidden,
    spec.experts,
    spec.hasBiases,
  );
  const experts = Array.from({ length: spec.experts }, (_, index) => expertLayers(spec, index));
  return {
    groups: [...experts.map(({ gateUp }) => gateUp), ...experts.map(({ down }) => down)],
    denseLayers: [router],
    mixture: spec,
    async apply(pass, x, stream, options) {
      const routes = pass.routes ?? await chooseRoutes(pass, spec, router, x);
      pass.observeRoutes?.(routes);
      applyExperts(pass, spec, experts, routes, x, stream, options);
    },
  };
}

/** Runs the router, waits for its scores, and routes the tokens of `x`, (rows, hidden) f32. */
async function chooseRoutes(
  pass: BlockPass,
  spec: ExpertsSpec,
  router: LinearSpec,
  x: DeviceBuffer,
): Promise<Routes> {
  const scores = pass.workspace.buffer("router scores", pass.rows * spec.experts);
  applyLinear(pass, router, x, 0, pass.rows, scores);
  const bytes = await pass.backend.read(scores, 0, pass.rows * spec.experts * 4);
  return routeTokens(asFloat32(bytes), spec);
}

function expertLayers(
  { name, layers, hidden, intermediate, hasBiases, isTransposed }: ExpertsSpec,
  index: number,
): Expert {
  const layer = (part: string, inFeatures: number, outFeatures: number): LinearSpec => ({
    ...linearSpec(`${name}.experts.${index}.${part}`, inFeatures, outFeatures, hasBiases),
    isTransposed,
    expertRole: `${name}.experts.${part}`,
  });
  return {
    gateUp: layers.up === undefined
      ? [layer(layers.gate, hidden, 2 * intermediate)]
      : [layer(layers.gate, hidden, intermediate), layer(layers.up, hidden, intermediate)],
    down: [layer(layers.down, intermediate, hidden)],
  };
}

/** Queues every expert on the rows of `x` that are routed to it, and adds the outputs to `stream`. */
function applyExperts(
  pass: BlockPass,
  spec: ExpertsSpec,
  experts: readonly Expert[],
  routes: Routes,
  x: DeviceBuffer,
  stream: DeviceBuffer,
  options: ResidualOptions,
): void {
  const { backend, workspace } = pass, { hidden } = spec;
  const counts = experts.map((_, e) => routes.starts[e + 1] - routes.starts[e]);
  // With a tape, experts share no buffers.
  if (!pass.tape) reserveBuffers(pass, spec, experts[0], Math.max(...counts));
  const index = workspace.buffer("expert tokens", routes.tokens.length);
  const factors = workspace.buffer("expert factors", routes.factors.length);
  backend.write(index, 0, new Uint8Array(routes.tokens.buffer));
  backend.write(factors, 0, new Uint8Array(routes.factors.buffer));
  const outputs = workspace.buffer("expert outputs", pass.rows * hidden);
  backend.clear(outputs);
  for (const [e, expert] of experts.entries()) {
    const rows = counts[e], offset = routes.starts[e];
    if (rows === 0) continue;
    const chosen = { index, factors, offset, rows, cols: hidden };
    const inputs = workspace.buffer("expert inputs", rows * hidden);
    copyRows(pass, chosen, x, inputs);
    const y = applyExpert({ ...pass, rows }, spec, expert, inputs);
    if (!y) continue;
    pass.observeExpert?.(e, routes, y, hidden);
    addToRows(pass, chosen, y, outputs);
  }
  if (!pass.skippedGroups?.includes(experts[0].down)) addToStream(pass, outputs, stream, hidden, options);
}

/** Queues one expert on `x`, (rows, hidden) f32. Returns its outputs, or undefined if `pass` skips its last layer. */
function applyExpert(
  pass: BlockPass,
  spec: ExpertsSpec,
  { gateUp, down }: Expert,
  x: DeviceBuffer,
): DeviceBuffer | undefined {
  const inner = applyExpertGate(pass, spec, applyGroup(pass, gateUp, x));
  if (!pass.skippedGroups?.includes(down)) return applyGroup(pass, down, inner)[0];
  pass.observeInput?.(down, inner, pass.rows);
}

/** Queues the gate of an expert on the outputs of the first layers. Returns (rows, intermediate) f32. */
function applyExpertGate(
  pass: BlockPass,
  { intermediate, activation, clampedGate }: ExpertsSpec,
  outputs: readonly DeviceBuffer[],
): DeviceBuffer {
  const [first] = outputs;
  if (clampedGate) return applyClampedGate(pass, first, intermediate, clampedGate);
  const [gate, up] = outputs.length > 1
    ? outputs.map((y) => allColumns(y, intermediate))
    : [0, intermediate].map((offset) => ({ buffer: first, offset, ld: 2 * intermediate }));
  return applyGate(pass, gate, up, intermediate, activation);
}

/** Allocates the buffers that experts share for `rows` rows, so that no expert replaces them by larger ones. */
function reserveBuffers(
  { workspace }: BlockPass,
  { hidden, intermediate }: ExpertsSpec,
  { gateUp, down }: Expert,
  rows: number,
): void {
  workspace.buffer("expert inputs", rows * hidden);
  workspace.buffer("gated", rows * intermediate);
  for (const layer of [...gateUp, ...down]) workspace.buffer(roleOf(layer), rows * layer.outFeatures);
}
