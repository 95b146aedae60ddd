/**
 * The feed-forward networks of blocks. Most families have a gated network of three layers. Phi-3 computes gate and up by
 * one layer, and StarCoder2 has no gate. The experts in `experts.ts` are such networks too.
 */

import type { DeviceBuffer } from "../../../device/backend.ts";
import type { Activation, BlockPass } from "../../pieces/block_pass.ts";
import { allColumns } from "../../pieces/columns_view.ts";
import { applyClampedGate, applyGate, applyGroup, type ClampedGate } from "../../pieces/linear.ts";
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
import type { LlamaSizes } from "./attention_layers.ts";

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

/** The names of the layers of a network. Without `up`, the layer `gate` computes both. Without `gate`, the network has no gate. */
export type NetworkLayers =
  & (
    | { readonly gate: string; readonly up?: string }
    | { readonly gate?: undefined; readonly up: string }
  )
  & { readonly down: string };

export const GATED_LAYERS: NetworkLayers = { gate: "gate_proj", up: "up_proj", down: "down_proj" };
/** The names if one layer computes gate, then up. */
export const FUSED_LAYERS: NetworkLayers = { gate: "gate_up_proj", down: "down_proj" };

/** The properties in which a feed-forward network differs from LLaMA's. */
export interface NetworkOptions extends LinearOptions {
  /** The name of the network in a block. It is empty if its layers are parts of the block itself. Defaults to `mlp`. */
  readonly name?: string;
  /** Defaults to {@link GATED_LAYERS}. */
  readonly layers?: NetworkLayers;
  /** The inputs of the last layer. By default, the configuration has their number. */
  readonly intermediate?: number;
  /** By default, the configuration names it. */
  readonly activation?: Activation;
}

/** The layers of a network. */
export interface Network {
  readonly intermediate: number;
  readonly hasGate: boolean;
  readonly first: LinearGroup;
  readonly down: LinearGroup;
}

/** Returns the name in a block of a part of `network`, whose own name may be empty. */
export function nameIn(network: string, part: string): string {
  return network === "" ? part : `${network}.${part}`;
}

/** @param layer returns a layer by its name in the network, its inputs and its outputs */
export function networkOf(
  hidden: number,
  intermediate: number,
  { gate, up, down }: NetworkLayers,
  layer: (part: string, inFeatures: number, outFeatures: number) => LinearSpec,
): Network {
  const first: LinearGroup = gate === undefined
    ? [layer(up, hidden, intermediate)]
    : up === undefined
    ? [layer(gate, hidden, 2 * intermediate)]
    : [layer(gate, hidden, intermediate), layer(up, hidden, intermediate)];
  return { intermediate, hasGate: gate !== undefined, first, down: [layer(down, intermediate, hidden)] };
}

/**
 * Queues the first layers on `x`, (rows, hidden) f32, with the activation function or the gate.
 * @returns the inputs of the last layer, (rows, intermediate) f32
 */
export function applyFirstLayers(
  pass: BlockPass,
  { intermediate, hasGate, first }: Network,
  x: DeviceBuffer,
  activation: Activation,
  clampedGate?: ClampedGate,
): DeviceBuffer {
  const [y, ofUp] = applyGroup(pass, first, x, hasGate ? "none" : activation);
  if (!hasGate) return y;
  if (clampedGate) return applyClampedGate(pass, y, intermediate, clampedGate);
  const [gate, up] = ofUp
    ? [y, ofUp].map((outputs) => allColumns(outputs, intermediate))
    : [0, intermediate].map((offset) => ({ buffer: y, offset, ld: 2 * intermediate }));
  return applyGate(pass, gate, up, intermediate, activation);
}

/** Returns the network of a block without experts. @param common the activation function that the configuration names */
export function feedForward(
  sizes: LlamaSizes,
  common: Activation,
  {
    name = "mlp",
    layers = GATED_LAYERS,
    intermediate = sizes.intermediate,
    activation = common,
    ...linear
  }: NetworkOptions = {},
): FeedForward {
  const network = networkOf(
    sizes.hidden,
    intermediate,
    layers,
    (part, inFeatures, outFeatures) => linearSpec(nameIn(name, part), inFeatures, outFeatures, linear),
  );
  return {
    groups: [network.first, network.down],
    apply(pass, x, stream, residual) {
      accumulateGroup(pass, network.down, applyFirstLayers(pass, network, x, activation), stream, residual);
    },
  };
}
