/** The bodies of requests of `/v1/states` and `/v1/blocks` for a small model of the family GPT-2. */

import { readModel } from "../../src/host/blocks/read_spec.ts";
import { countObjectBytes } from "../../src/host/blocks/states.ts";
import { readTensor } from "../../src/model/checkpoint/tensor_source.ts";
import { blockTensors, embeddingTensors, type NamedShape } from "../../src/model/families/check_tensors.ts";
import { weightName } from "../../src/prune/block_plan.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";

const { windows, weights, variants: [{ config, model: { spec } }] } = await readFamilyFixture("gpt2");
export { config, spec, windows };
export const TOKENS = windows[0].length, STATES = "/v1/states/run";
export const PRUNE = "/v1/blocks/prune?states=run&block=0", COLLECT = PRUNE.replace("prune", "collect");
export const MEASURE = PRUNE.replace("prune", "measure"),
  TRAIN = `${PRUNE.replace("prune", "train")}&epochs=2`;

type Tensors = Readonly<Record<string, HostTensor>>;

/** Reads tensors of the model, or of another one. */
export async function tensorsOf(named: readonly NamedShape[], source = weights): Promise<Tensors> {
  return Object.fromEntries(
    await Promise.all(named.map(async ([name]) => [name, await readTensor(source, name)] as const)),
  );
}

export const embedding = await tensorsOf(embeddingTensors(spec)),
  block = await tensorsOf(blockTensors(spec, 0));
export const [firstName] = Object.keys(block), [layer] = spec.block(0).groups[0];
export const layerName = weightName(spec, 0, layer);

/** Returns a tensor of token ids. */
export function ids(shape: readonly number[], values: ArrayLike<number>): HostTensor {
  return { dtype: "U32", shape, data: new Uint8Array(Uint32Array.from(values).buffer) };
}

export const given = ids([windows.length, TOKENS], windows.flatMap((window) => [...window]));
export const metadata = { config: JSON.stringify(config) };

/** Returns the memory that a host counts for states besides their data. @param body the body that creates them */
export function objectBytesOf(body: Uint8Array<ArrayBuffer>): number {
  const { header: { metadata, tensors } } = decode(body);
  const shapes = tensors.filter(({ name }) => name.endsWith("windows")).map(({ shape }) => shape);
  const windows = shapes.reduce((sum, [count]) => sum + count, 0);
  return countObjectBytes(readModel(metadata, tensors).model, windows);
}

export const layers = (queries: object) => ({ layers: JSON.stringify(queries) });
export const creation = encode({ windows: given, ...embedding }, metadata);
export const pruning = encode(block, layers({ [layerName]: { sparsity: 0.5 } }));

const [secondLayer] = spec.block(1).groups[0];
/** Prunes the first layer of block 1, as `pruning` does in block 0. */
export const secondPruning = encode(
  await tensorsOf(blockTensors(spec, 1)),
  layers({ [weightName(spec, 1, secondLayer)]: { sparsity: 0.5 } }),
);
