/**
 * The feed-forward networks of blocks. Most families have a gated network of three layers. Phi-3 computes gate and up by
 * one layer, and StarCoder2 has no gate. Mixtures of experts are in `experts.ts`.
 */

import type { DeviceBuffer } from "../../../device/backend.ts";
import type { Activation, BlockPass } from "../../pieces/block_pass.ts";
import { allColumns } from "../../pieces/columns_view.ts";
import { applyGate, applyGroup } from "../../pieces/linear.ts";
import { accumulateGroup, type ResidualOptions } from "../../pieces/residual.ts";
import {
  type LinearGroup,
  type LinearOptions,
  type LinearSpec,
  linearSpec,
  type NormSpec,
  type VectorSpec,
} from "../../layer_specs.ts";
import type { MixtureTraits } from "../family.ts";
import type { LlamaBiases, LlamaSizes } from "./attention_layers.ts";

export interface FeedForward {
  /** Its linear layers, as in `BlockSpec.groups`. */
  readonly groups: readonly LinearGroup[];
  readonly denseLayers?: readonly LinearSpec[];
  /** As in `BlockSpec`. */
  readonly vectors?: readonly VectorSpec[];
  /** The norms between its layers. */
  readonly norms?: readonly NormSpec[];
  /** As in `BlockTraits`. */
  readonly mixture?: MixtureTraits;
  /** Queues the network on `x`, and adds its outputs to `stream`. Both are (rows, hidden) f32. */
  apply(
    pass: BlockPass,
    x: DeviceBuffer,
    stream: DeviceBuffer,
    options: ResidualOptions,
  ): void | Promise<void>;
}

/** The names of the three layers of a gated network in most families. */
export const GATED_LAYERS = { gate: "gate_proj", up: "up_proj", down: "down_proj" };

/**
 * Returns the network down(activation(gate(x))·up(x)) with one layer each for gate, up and down.
 * @param name the name of the network in a block
 * @param parts the names of its layers
 */
export function gatedFeedForward(
  { hidden, intermediate }: LlamaSizes,
  activation: Activation,
  { feedForward: bias }: LlamaBiases = {},
  name = "mlp",
  parts = GATED_LAYERS,
): FeedForward {
  const gateUp: LinearGroup = [
    linearSpec(`${name}.${parts.gate}`, hidden, intermediate, bias),
    linearSpec(`${name}.${parts.up}`, hidden, intermediate, bias),
  ];
  const down: LinearGroup = [linearSpec(`${name}.${parts.down}`, intermediate, hidden, bias)];
  return gatedNetwork(gateUp, down, intermediate, activation);
}

/** Returns the network down(activation(up(x))), which has no gate. @param names those of both layers @param options of both layers */
export function plainFeedForward(
  { hidden, intermediate }: LlamaSizes,
  activation: Activation,
  options: boolean | LinearOptions,
  names: readonly [up: string, down: string],
): FeedForward {
  const up: LinearGroup = [linearSpec(names[0], hidden, intermediate, options)];
  const down: LinearGroup = [linearSpec(names[1], intermediate, hidden, options)];
  return {
    groups: [up, down],
    apply(pass, x, stream, options) {
      const [inner] = applyGroup(pass, up, x, activation);
      accumulateGroup(pass, down, inner, stream, options);
    },
  };
}

/** Returns the gated network with one layer whose outputs are gate, then up. No layer has a bias. @param names those of both layers */
export function fusedFeedForward(
  { hidden, intermediate }: Pick<LlamaSizes, "hidden" | "intermediate">,
  activation: Activation,
  names: readonly [gateUp: string, down: string] = ["mlp.gate_up_proj", "mlp.down_proj"],
): FeedForward {
  const gateUp: LinearGroup = [linearSpec(names[0], hidden, 2 * intermediate)];
  const down: LinearGroup = [linearSpec(names[1], intermediate, hidden)];
  return gatedNetwork(gateUp, down, intermediate, activation);
}

function gatedNetwork(
  gateUp: LinearGroup,
  down: LinearGroup,
  intermediate: number,
  activation: Activation,
): FeedForward {
  return {
    groups: [gateUp, down],
    apply(pass, x, stream, options) {
      const inner = applyGateToOutputs(pass, applyGroup(pass, gateUp, x), intermediate, activation);
      accumulateGroup(pass, down, inner, stream, options);
    },
  };
}

/**
 * Queues the gate of a network on the outputs of its first layers, and returns (rows, intermediate) f32.
 * @param outputs those of `gate` and of `up`, or those of one layer that computes gate, then up
 */
export function applyGateToOutputs(
  pass: BlockPass,
  [first, second]: readonly DeviceBuffer[],
  intermediate: number,
  activation: Activation,
): DeviceBuffer {
  const [gate, up] = second
    ? [first, second].map((y) => allColumns(y, intermediate))
    : [0, intermediate].map((offset) => ({ buffer: first, offset, ld: 2 * intermediate }));
  return applyGate(pass, gate, up, intermediate, activation);
}
