/** The parts of the bench `shrink`: trained models with their texts, and models that have lost columns. */

import { denoFileSystem as fs } from "../../../src/cli/files/deno_file_system.ts";
import type { Backend } from "../../../src/device/backend.ts";
import { calibrationWindows } from "../../../src/layer/calibration/windows.ts";
import { readTensor, withReplacements } from "../../../src/model/checkpoint/tensor_source.ts";
import { comparePerplexities } from "../../../src/model/evaluation/perplexity.ts";
import { type Model, type ModelFolder, openModelFolder } from "../../../src/model/model.ts";
import { readTokens } from "../../../src/model/tokenizer/tokenizer.ts";
import { linearLayers } from "../../../src/prune/block_plan.ts";
import { DevicePruner } from "../../../src/prune/device_pruner.ts";
import { holdOut } from "../../../src/prune/divide_windows.ts";
import { type ShrinkJob, shrinkModel } from "../../../src/prune/shrink/shrink_model.ts";
import { type KeptUnits, readingLayers, readUnits } from "../../../src/prune/shrink/units.ts";
import { bytesToFloats, type FloatDtype, floatsToBytes } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { type Kind, KINDS, type Texts } from "../../fixtures/trained_models.ts";
import type { QualityModel } from "../quality/cells.ts";

const VALIDATION = 1 / 8;

/** The number of epochs with `--reconstruct`. */
export const EPOCHS = 5;

/** The figures of a model on a kind of text. */
export interface MeasuredText {
  readonly perplexity: number;
  /** The mean of KL(trained ‖ model) over the tokens, in nats. */
  readonly divergence: number;
}

/** The figures of a model on each kind of text that this machine has. */
export type MeasuredModel = ReadonlyMap<Kind, MeasuredText>;

/** A trained model. */
export interface TrainedModel {
  readonly opened: ModelFolder;
  /** The calibration windows, with those that Pare holds out. */
  readonly windows: readonly Uint32Array[];
  /** Measures a model with the same tokens. */
  measure(model: Model): Promise<MeasuredModel>;
}

/** @param calibrated the kind of text that the model is calibrated on */
export async function openTrained(
  benched: QualityModel,
  texts: Texts,
  calibrated: Kind,
  backend: Backend,
  cleanup: AsyncDisposableStack,
): Promise<TrainedModel> {
  const { folder, seqlen, calibrationWindows: count, evaluationWindows } = benched;
  const opened = cleanup.use(await openModelFolder(folder, fs)), tokenizer = await opened.loadTokenizer();
  const evaluated = new Map<Kind, Uint32Array>();
  for (const kind of KINDS) {
    const file = texts[kind].evaluation;
    if (file !== undefined) evaluated.set(kind, await readTokens(tokenizer, file, fs));
  }
  const calibration = await readTokens(tokenizer, texts[calibrated].calibration!, fs);
  return {
    opened,
    windows: calibrationWindows(calibration, { windows: count, seqlen }),
    async measure(model) {
      const measured = new Map<Kind, MeasuredText>();
      const options = { seqlen, windows: evaluationWindows };
      for (const [kind, tokens] of evaluated) {
        const inputs = [opened.model, model].map((each) => ({ model: each, tokens }));
        const [, { perplexity, divergence }] = await comparePerplexities(inputs, backend, options);
        measured.set(kind, { perplexity, divergence: divergence! });
      }
      return measured;
    },
  };
}

/** Returns how many neurons remain if a share of the weights of all linear layers is removed with neurons. */
export function remainingNeurons(
  { opened: { checkpoint: { config }, model: { spec } } }: TrainedModel,
  share: number,
): number {
  const layers = linearLayers(spec);
  let ofNeurons = 0, all = 0;
  for (const { rows, cols } of layers) all += rows * cols;
  for (const reader of readingLayers({ neurons: 0 }, config, spec)) {
    const own = layers.filter(({ block, linear, name }) =>
      block === reader.block && (name === reader.name || reader.writers.includes(linear.name))
    );
    for (const { rows, cols } of own) ofNeurons += reader.share * rows * cols;
  }
  return Math.round(readUnits("neurons", config, spec).count * (1 - share / (ofNeurons / all)));
}

/** Shrinks a model by `pare shrink` into the folder `out`, which is removed afterwards, and measures the result. */
export async function measureShrunk(
  { opened: { checkpoint, model }, windows: all, measure }: TrainedModel,
  backend: Backend,
  options: Pick<ShrinkJob, "kept" | "reconstruct" | "out"> & Partial<Pick<ShrinkJob, "blocks">>,
): Promise<MeasuredModel> {
  const [heldOut] = holdOut([all.length], options.reconstruct ? VALIDATION : 0);
  await shrinkModel({
    ...{ checkpoint, model, blocks: 0, ...options, fingerprint: {}, reportFileNames: [] },
    windows: all.filter((_, i) => !heldOut.has(i)),
    validationWindows: all.filter((_, i) => heldOut.has(i)),
    reportFiles: () => Promise.resolve(new Map()),
  }, { fs, backend, pruner: new DevicePruner(backend) });
  await using shrunk = await openModelFolder(options.out, fs);
  const figures = await measure(shrunk.model);
  await Deno.remove(options.out, { recursive: true });
  return figures;
}

/** Removes the neurons whose columns, in the layers that read them, have the smallest norms. */
export async function pruneByMagnitude({ checkpoint, model }: ModelFolder, kept: KeptUnits): Promise<Model> {
  const replaced = new Map<string, HostTensor>();
  for (const { name, cols, share } of readingLayers(kept, checkpoint.config, model.spec)) {
    const weight = await readTensor(model.weights, name);
    replaced.set(name, withoutColumns(weight, smallest(columnSquares(weight), Math.round(share * cols))));
  }
  return { ...model, weights: withReplacements(model.weights, replaced) };
}

export function columnSquares({ dtype, shape: [, cols], data }: HostTensor): Float64Array {
  const squares = new Float64Array(cols);
  bytesToFloats(data, dtype as FloatDtype).forEach((value, i) => squares[i % cols] += value ** 2);
  return squares;
}

/** Returns the indices of the `count` smallest scores. */
export function smallest(scores: Float64Array, count: number): number[] {
  return Array.from(scores, (_, j) => j).sort((a, b) => scores[a] - scores[b] || a - b).slice(0, count);
}

/** Returns the weight with 0 in some columns. */
export function withoutColumns({ dtype, shape, data }: HostTensor, columns: readonly number[]): HostTensor {
  const values = bytesToFloats(data, dtype as FloatDtype), [rows, cols] = shape;
  for (let row = 0; row < rows; row++) for (const column of columns) values[row * cols + column] = 0;
  return { dtype, shape, data: floatsToBytes(values, dtype as FloatDtype) };
}

/** Returns one object for each kind of text, with the perplexity of each column. */
export function byKind<Columns extends Readonly<Record<string, MeasuredModel>>>(
  columns: Columns,
): ({ readonly kind: Kind } & { readonly [Name in keyof Columns]: number })[] {
  const [first] = Object.values(columns);
  return [...first.keys()].map((kind) => {
    const figures = Object.entries(columns).map(([name, measured]) => [name, measured.get(kind)!.perplexity]);
    return { kind, ...Object.fromEntries(figures) as { readonly [Name in keyof Columns]: number } };
  });
}
