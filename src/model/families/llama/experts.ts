/**
 * A mixture of experts in the place of a feed-forward network. An expert is a small network, which has a gate in most
 * families. A router sends each token to a few experts, whose outputs are added with factors of the router. Some mixtures
 * also have a shared expert, to which all tokens go. The router stays dense.
 */

import type { DeviceBuffer } from "../../../device/backend.ts";
import { asFloat32 } from "../../../tensor/host_tensor.ts";
import type { Activation, BlockPass } from "../../pieces/block_pass.ts";
import { applyGroup, applyLinear, type ClampedGate } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { addToStream, type ResidualOptions } from "../../pieces/residual.ts";
import { addToRows, copyRows, reserveScaledRows } from "../../pieces/rows.ts";
import { type Routes, routeToAll, routeTokens, sigmoid, withSharedExpert } from "../../pieces/routing.ts";
import { type LinearSpec, linearSpec, type NormSpec, roleOf, type VectorSpec } from "../../layer_specs.ts";
import type { MixtureTraits } from "../family.ts";
import {
  applyFirstLayers,
  type FeedForward,
  nameIn,
  type Network,
  type NetworkLayers,
  networkOf,
  type NetworkOptions,
} from "./feed_forward.ts";

/** The sizes, the names and the rule of a mixture of experts. */
export interface ExpertsSpec extends MixtureTraits {
  readonly hidden: number;
  readonly activation: Activation;
  /** The name of the mixture in a block, which comes before `.gate` and `.experts`. It is empty if these are parts of the block itself. */
  readonly name: string;
  readonly layers: NetworkLayers;
  /** The name of the router in the mixture. Defaults to `gate`. */
  readonly router?: string;
  /** Whether the router and the layers of the experts have biases. Defaults to false. */
  readonly hasBiases?: boolean;
  /** As in `LinearSpec`, for the layers of the experts. */
  readonly isTransposed?: boolean;
  /** A limited gate, whose elements alternate with the elements of `up`. By default, the gate has no limit and comes before `up`. */
  readonly clampedGate?: ClampedGate;
  /**
   * Whether the factors of a token multiply the inputs of its experts, except the shared one, in the place of their outputs. The factors
   * must be sigmoids of the outputs of the router.
   */
  readonly scalesInputs?: boolean;
  readonly shared?: SharedExpertSpec;
  /** The name in the mixture of the vector of corrections, (experts), that are added to the scores when experts are chosen. */
  readonly correction?: string;
  /** The shape in which a checkpoint stores the corrections. Defaults to (experts). */
  readonly correctionShape?: readonly number[];
  /** The name in the mixture of the vector, (experts), by which the factors of each expert are multiplied. */
  readonly factors?: string;
  /** The norms of the inputs of the router and of the experts, which are the hidden states themselves. By default, one norm comes before the mixture. */
  readonly norms?: { readonly router: NormSpec; readonly experts: NormSpec };
  /** The factor of the outputs of the router. Defaults to 1. */
  readonly routerScale?: number;
}

/** The expert to which all tokens go. By default, its layers have the names of the layers of the other experts. */
interface SharedExpertSpec extends Pick<NetworkOptions, "layers" | "bias"> {
  /** Its name in a block. */
  readonly name: string;
  readonly intermediate: number;
  /** The name of the layer with one output, whose sigmoid is the factor of the expert's outputs. By default, the factor is 1. */
  readonly gate?: string;
}

/** The layers that route tokens, the corrections of their scores, and the factors of experts. */
interface Router {
  readonly scores: LinearSpec;
  readonly corrections?: VectorSpec;
  readonly factors?: VectorSpec;
  /** The layer with the factor of the shared expert. */
  readonly shared?: LinearSpec;
}

export function mixtureOfExperts(spec: ExpertsSpec): FeedForward {
  const { hidden, shared, norms } = spec;
  const vector = (name: string | undefined, shape?: readonly number[]) =>
    name === undefined
      ? undefined
      : { name: nameIn(spec.name, name), size: spec.experts, ...shape && { shape } };
  const router: Router = {
    scores: linearSpec(nameIn(spec.name, spec.router ?? "gate"), hidden, spec.experts, spec.hasBiases),
    corrections: vector(spec.correction, spec.correctionShape),
    factors: vector(spec.factors),
    shared: shared?.gate === undefined ? undefined : linearSpec(nameIn(spec.name, shared.gate), hidden, 1),
  };
  const routed = Array.from({ length: spec.experts }, (_, index) => routedExpert(spec, index));
  const sharedExperts = shared ? [sharedExpert(spec, shared)] : [];
  return {
    // The last stage has the last layers of all routed experts, because a pass skips the last stage if it only observes inputs.
    groups: [
      ...routed.map(({ first }) => first),
      ...sharedExperts.flatMap(({ first, down }) => [first, down]),
      ...routed.map(({ down }) => down),
    ],
    denseLayers: [router.scores, router.shared].filter((layer) => layer !== undefined),
    vectors: [router.corrections, router.factors].filter((vector) => vector !== undefined),
    norms: norms && [norms.router, norms.experts],
    mixture: spec,
    async apply(pass, x, stream, options) {
      const experts = [...routed, ...sharedExperts];
      const inputFactors = async () => (await readOutputs(pass, router.scores, x)).map(sigmoid);
      const routes = pass.routes ??
        (pass.routesToAll
          ? routeToAll(experts.length, pass.rows, spec.scalesInputs ? await inputFactors() : undefined)
          : await chooseRoutes(pass, spec, router, norms ? normalize(pass, norms.router, x) : x));
      pass.observeRoutes?.(routes);
      const inputs = norms ? normalize(pass, norms.experts, x) : x;
      await applyExperts(pass, spec, experts, routes, inputs, stream, options);
    },
  };
}

/** Runs the router, waits for its scores, and routes the tokens of `x`, (rows, hidden) f32. */
async function chooseRoutes(
  pass: BlockPass,
  spec: ExpertsSpec,
  router: Router,
  x: DeviceBuffer,
): Promise<Routes> {
  const [scores, shared] = await Promise.all([
    readOutputs(pass, router.scores, x, spec.routerScale),
    router.shared && readOutputs(pass, router.shared, x),
  ]);
  const read = (vector: VectorSpec | undefined) => vector && pass.weights.vector(vector);
  const routes = routeTokens(scores, spec, read(router.corrections), read(router.factors));
  if (!spec.shared) return routes;
  return withSharedExpert(routes, shared?.map(sigmoid) ?? new Float32Array(pass.rows).fill(1));
}

/** Runs a layer on `x`, (rows, inputs) f32, and waits for its outputs, (rows, outputs). @param scale the factor of the outputs */
async function readOutputs(
  pass: BlockPass,
  layer: LinearSpec,
  x: DeviceBuffer,
  scale?: number,
): Promise<Float32Array> {
  const { rows, workspace, backend } = pass, outputs = workspace.buffer(layer.name, rows * layer.outFeatures);
  applyLinear(pass, layer, x, 0, rows, outputs, { scale });
  return asFloat32(await backend.read(outputs, 0, rows * layer.outFeatures * 4));
}

function routedExpert(spec: ExpertsSpec, index: number): Network {
  const { name, hidden, intermediate, layers, hasBiases: bias, isTransposed } = spec;
  return networkOf(hidden, intermediate, layers, (part, inFeatures, outFeatures) => ({
    ...linearSpec(nameIn(name, `experts.${index}.${part}`), inFeatures, outFeatures, { bias, isTransposed }),
    expertRole: nameIn(name, `experts.${part}`),
  }));
}

function sharedExpert(
  { hidden, layers: common }: ExpertsSpec,
  { name, intermediate, bias, layers = common }: SharedExpertSpec,
): Network {
  return networkOf(
    hidden,
    intermediate,
    layers,
    (part, inFeatures, outFeatures) => linearSpec(`${name}.${part}`, inFeatures, outFeatures, bias),
  );
}

/** Queues every expert on the rows of `x` that are routed to it, and adds the outputs to `stream`. */
async function applyExperts(
  pass: BlockPass,
  spec: ExpertsSpec,
  experts: readonly Network[],
  routes: Routes,
  x: DeviceBuffer,
  stream: DeviceBuffer,
  options: ResidualOptions,
): Promise<void> {
  const { backend, workspace, skippedGroups = [] } = pass, { hidden } = spec;
  const counts = experts.map((_, e) => routes.starts[e + 1] - routes.starts[e]);
  // With a tape, experts share no buffers.
  if (!pass.tape) reserveBuffers(pass, spec, experts, counts);
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
    copyRows(pass, chosen, x, inputs, spec.scalesInputs);
    const layers = [expert.first, expert.down].filter((group) => !skippedGroups.includes(group)).flat();
    await pass.weights.withLayers(layers, (weights) => {
      const y = applyExpert({ ...pass, weights, rows }, spec, expert, inputs);
      if (!y) return;
      pass.observeExpert?.(e, routes, y, hidden);
      addToRows(
        pass,
        spec.scalesInputs ? { ...chosen, factors: workspace.ones(routes.factors.length) } : chosen,
        y,
        outputs,
      );
    });
  }
  if (!skippedGroups.includes(experts[0].down)) addToStream(pass, outputs, stream, hidden, options);
}

/** Queues one expert on `x`, (rows, hidden) f32. Returns its outputs, or undefined if `pass` skips some of its layers. */
function applyExpert(
  pass: BlockPass,
  { activation, clampedGate }: ExpertsSpec,
  expert: Network,
  x: DeviceBuffer,
): DeviceBuffer | undefined {
  const { first, down } = expert;
  if (pass.skippedGroups?.includes(first)) {
    pass.observeInput?.(first, x, pass.rows);
    return;
  }
  const inner = applyFirstLayers(pass, expert, x, activation, clampedGate);
  if (!pass.skippedGroups?.includes(down)) return applyGroup(pass, down, inner)[0];
  pass.observeInput?.(down, inner, pass.rows);
}

/** Allocates the buffers that experts share, so that no expert replaces them by larger ones. @param counts the tokens of each expert */
function reserveBuffers(
  pass: BlockPass,
  spec: ExpertsSpec,
  experts: readonly Network[],
  counts: readonly number[],
): void {
  const { workspace } = pass, rows = Math.max(...counts.slice(0, spec.experts)), [{ first, down }] = experts;
  workspace.buffer("expert inputs", Math.max(...counts) * spec.hidden);
  if (spec.scalesInputs) reserveScaledRows(pass, Math.max(...counts), spec.hidden);
  workspace.buffer("gated", Math.max(...experts.map(({ intermediate }, e) => counts[e] * intermediate)));
  for (const layer of [...first, ...down]) workspace.buffer(roleOf(layer), rows * layer.outFeatures);
}
