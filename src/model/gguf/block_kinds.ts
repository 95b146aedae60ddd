/**
 * Describes by the keys of GGUF what differs between the blocks of a model: windows, linear attention, and halves that a
 * block lacks.
 */

import { configError } from "../families/config/config.ts";
import {
  blocksOf,
  type BlockSpec,
  type BlockTraits,
  type DeltaTraits,
  firstTrait,
  type ModelSpec,
} from "../families/family.ts";
import { roleOf } from "../layer_specs.ts";
import type { Architecture } from "../families/architecture.ts";
import { type MetadataEntry, u32 } from "./container.ts";
import { titleOf } from "./architecture.ts";

export function windowsOf({ blockCount }: ModelSpec, { window }: BlockTraits): number[] {
  return Array.from({ length: blockCount }, (_, index) => window?.(index) ?? 0);
}

/** Whether the architecture has a sliding window in block `index`. */
export function hasWindow(
  { windowPeriod, listsWindows }: Architecture,
  windows: readonly number[],
  index: number,
): boolean {
  return listsWindows ? windows[index] > 0 : windowPeriod !== undefined && (index + 1) % windowPeriod !== 0;
}

/**
 * Returns the entries of the sliding windows.
 * @throws {ModelError} if the windows differ from the architecture's, or if no block has a window although the file lists the blocks that do
 */
export function windowEntries(
  spec: ModelSpec,
  architecture: Architecture,
  windows: readonly number[],
): MetadataEntry[] {
  const { name, windowPeriod, listsWindows } = architecture, key = `${name}.attention`;
  if (windowPeriod) return [[`${key}.sliding_window`, u32(commonWindow(windows, architecture))]];
  if (!listsWindows) return [];
  const first = windows.findIndex(Boolean);
  if (first < 0) {
    throw configError(`no block has a sliding window, which ${titleOf(name)} needs`);
  }
  const { headDim } = spec.block(first).traits!;
  return [
    [`${key}.sliding_window`, u32(windows[first])],
    [`${key}.sliding_window_pattern`, { type: "bool", value: windows.map(Boolean) }],
    [`${key}.key_length_swa`, u32(headDim)],
    [`${key}.value_length_swa`, u32(headDim)],
  ];
}

/** Returns the window of all blocks that have one. @throws {ModelError} if they differ from the architecture's */
function commonWindow(windows: readonly number[], architecture: Architecture): number {
  const wrong = windows.findIndex((window, index) =>
    window !== (hasWindow(architecture, windows, index) ? windows[0] : 0) || windows[0] === 0
  );
  if (wrong < 0) return windows[0];
  throw configError(
    `gives block ${wrong} the window ${windows[wrong]}, but in ${titleOf(architecture.name)} ` +
      `all blocks have the same window, except those whose index plus 1 is a multiple of ${architecture.windowPeriod}`,
  );
}

/** @throws {ModelError} if other blocks have linear attention than in the architecture, or if its heads have other sizes */
export function linearEntries(spec: ModelSpec, { name, hasLinearBlocks }: Architecture): MetadataEntry[] {
  if (!hasLinearBlocks) return [];
  const linear = blocksOf(spec).map(({ traits }) => traits?.linear), interval = linear.indexOf(undefined) + 1;
  const sizes = firstTrait(spec, "linear");
  if (
    !sizes || interval === 0 ||
    linear.some((sizes, index) => (sizes === undefined) !== ((index + 1) % interval === 0))
  ) {
    throw configError(
      `${titleOf(name)} needs attention in exactly the blocks whose index plus 1 is a multiple of one number`,
    );
  }
  const { keyDim, valueDim } = sizes;
  if (keyDim !== valueDim) {
    throw configError(
      `linear_key_head_dim ${keyDim} must be linear_value_head_dim ${valueDim} for ${titleOf(name)}`,
    );
  }
  return [
    [`${name}.full_attention_interval`, u32(interval)],
    ...stateEntries(name, sizes),
  ];
}

/**
 * Returns the entries of the feed-forward network and of the key heads, which are one number per block if blocks may lack a half or have
 * different heads. llama.cpp recognises the blocks with Mamba 2 or a convolution by zeros.
 */
export function halfEntries(
  spec: ModelSpec,
  { name, layers, hasMamba, hasConvolutions, listsWindows }: Architecture,
): MetadataEntry[] {
  const blocks = blocksOf(spec), isListed = hasMamba || hasConvolutions || listsWindows;
  const inputsOf = ({ groups }: BlockSpec, place: string) =>
    groups.flat().find((layer) => layers[roleOf(layer)] === place)?.inFeatures;
  const dense = blocks.map((block) => inputsOf(block, "ffn_down"));
  const lengths = blocks.map((block, index) => dense[index] ?? inputsOf(block, "ffn_down_exps") ?? 0);
  const keyHeads = blocks.map((block) =>
    inputsOf(block, "attn_output") === undefined ? 0 : block.traits!.kvHeads
  );
  const length = dense.find((length) => length !== undefined) ?? lengths[0], { kvHeads } = blocks[0].traits!;
  return [
    [`${name}.feed_forward_length`, isListed ? { type: "u32", value: lengths } : u32(length)],
    [`${name}.attention.head_count_kv`, isListed ? { type: "u32", value: keyHeads } : u32(kvHeads)],
  ];
}

/** @throws {ModelError} if no block has Mamba 2, or if llama.cpp computes it in another way */
export function mambaEntries(spec: ModelSpec, { name, hasMamba }: Architecture): MetadataEntry[] {
  if (!hasMamba) return [];
  const mamba = firstTrait(spec, "mamba");
  if (!mamba) {
    throw configError(`no block has Mamba 2, which ${titleOf(name)} needs`);
  }
  const { heads, headDim, groups, stateDim, taps, activation, stepLimits: [min, max] } = mamba;
  if (activation !== "silu") {
    throw configError(`the activation of Mamba 2 is ${activation}, but ${titleOf(name)} has silu`);
  }
  if (min > 0 || max < Infinity) {
    throw configError(`limits the steps of Mamba 2 to ${min} and ${max}, but ${titleOf(name)} has no limits`);
  }
  return stateEntries(name, { heads, keyHeads: groups, keyDim: stateDim, valueDim: headDim, taps });
}

/** Returns the sizes of the state of linear attention, and of the convolution before it. */
function stateEntries(
  name: string,
  { heads, keyHeads, keyDim, valueDim, taps }: DeltaTraits,
): MetadataEntry[] {
  return [
    [`${name}.ssm.conv_kernel`, u32(taps)],
    [`${name}.ssm.state_size`, u32(keyDim)],
    [`${name}.ssm.group_count`, u32(keyHeads)],
    [`${name}.ssm.time_step_rank`, u32(heads)],
    [`${name}.ssm.inner_size`, u32(valueDim * heads)],
  ];
}
