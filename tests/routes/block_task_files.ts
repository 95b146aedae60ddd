/** The files of a small model that tasks about blocks read, and what of their results must be the same at all hosts. */

import { readTensor } from "../../src/model/checkpoint/tensor_source.ts";
import { blockTensors, embeddingTensors, type NamedShape } from "../../src/model/families/check_tensors.ts";
import { decodeBlock } from "../../src/protocol/blocks/block_answer.ts";
import { weightName } from "../../src/prune/block_plan.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";

/** The windows of a model, and those that are held out. */
type Windows = readonly (readonly Uint32Array[])[];

/**
 * The files of one model: the body that creates its states, and the body of each block.
 * @param windowsOf returns the windows. By default, they are those of the fixture
 */
export async function modelFiles(
  family: string,
  query: LayerQuery,
  windowsOf?: (vocabSize: number) => Windows,
) {
  const fixture = await readFamilyFixture(family),
    { weights, variants: [{ config, model: { spec } }] } = fixture;
  const [windows, heldOut = []] = windowsOf?.(spec.vocabSize) ?? [fixture.windows];
  const tensorsOf = async (named: readonly NamedShape[]) =>
    Object.fromEntries(
      await Promise.all(named.map(async ([name]) => [name, await readTensor(weights, name)] as const)),
    );
  const given = (windows: readonly Uint32Array[]): HostTensor => ({
    dtype: "U32",
    shape: [windows.length, windows[0].length],
    data: new Uint8Array(Uint32Array.from(windows.flatMap((window) => [...window])).buffer),
  });
  const tensors = {
    windows: given(windows),
    ...await tensorsOf(embeddingTensors(spec)),
    ...heldOut.length > 0 && { validation_windows: given(heldOut) },
  };
  const names = JSON.stringify(blockTensors(spec, 0).map(([name]) => name));
  const states = encode(tensors, {
    config: JSON.stringify(config),
    names,
  });
  const blocks = await Promise.all(Array.from({ length: spec.blockCount }, async (_, index) => {
    const layers = spec.block(index).groups.flat().map((linear) => [weightName(spec, index, linear), query]);
    const metadata = { layers: JSON.stringify(Object.fromEntries(layers)) };
    return encode(await tensorsOf(blockTensors(spec, index)), metadata);
  }));
  return { states, blocks };
}

/** Returns what must not differ between two answers: everything except the time. */
export function solved(bytes: Uint8Array<ArrayBuffer>) {
  const { layers, reconstructed, ...others } = decodeBlock(bytes);
  return {
    ...others,
    reconstructed: { ...reconstructed, seconds: 0 },
    layers: layers.map(({ report: { seconds: _, factor_reused: _reused, ...report }, ...layer }) => ({
      ...layer,
      report,
    })),
  };
}
