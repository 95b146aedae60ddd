/**
 * Measures the perplexity of models with fewer neurons in their feed-forward networks: by `pare shrink`, by the norms
 * of the columns (magnitude), and by the score and the bias of FLAP (An et al., arXiv 2312.11983). All three remove the
 * same number of neurons from each block. Pare holds an eighth of the calibration windows out, as `pare shrink` does,
 * and FLAP fits all of them. Each block of FLAP is measured with the outputs of the smaller blocks before it, as each
 * of Pare's is.
 */

import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import { openBackend } from "../../src/cli/open_backend.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { readTensor, withReplacements } from "../../src/model/checkpoint/tensor_source.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { Forward } from "../../src/model/forward.ts";
import { type Model, type ModelFolder, openModelFolder } from "../../src/model/model.ts";
import { readTokens } from "../../src/model/tokenizer/tokenizer.ts";
import { linearLayers, type SizedLayer } from "../../src/prune/block_plan.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { holdOut } from "../../src/prune/divide_windows.ts";
import { type ShrinkJob, shrinkModel } from "../../src/prune/shrink/shrink_model.ts";
import { type KeptUnits, readingLayers, readUnits } from "../../src/prune/shrink/units.ts";
import type { Backend } from "../../src/device/backend.ts";
import { bytesToFloats, type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";
import { findTexts, type Kind, KINDS, listModels } from "../fixtures/trained_models.ts";
import type { Bench } from "./bench.ts";
import { formatPercent, formatPerplexity, markdownTable } from "./report/markdown_table.ts";

/** The models whose neurons can be removed, and the kind of text that they are calibrated on. */
const CALIBRATED: Readonly<Record<string, Kind>> = {
  "opt-sotu": "speeches",
  "llama-sotu": "speeches",
  "stories260K": "stories",
};

const MODELS = Object.keys(CALIBRATED);

const SHARES = [0.1, 0.2, 0.3];

const VALIDATION = 1 / 8;

/** Selects the layers that read the neurons. The number does not matter. */
const NEURONS: KeptUnits = { neurons: 1 };

/** The number of windows of each kind of text, so that all texts have enough tokens. */
const EVALUATION_WINDOWS = 64;

/** The number of epochs of the last column. */
const EPOCHS = 5;

/** The perplexities of one model on one kind of text. */
interface ShrinkCell {
  readonly model: string;
  readonly kind: Kind;
  /** The share of removed neurons, and their number in each block. */
  readonly share: number;
  readonly removed: number;
  readonly dense: number;
  readonly magnitude: number;
  readonly flap: number;
  readonly pare: number;
  readonly reconstructed: number;
}

interface ShrinkResults {
  readonly cells: readonly ShrinkCell[];
}

export const bench: Bench<{ readonly only?: string }, ShrinkResults> = {
  description: "perplexity of models with fewer neurons: pare shrink, magnitude and FLAP",
  options: (command) =>
    command.option(
      "--only <model>",
      `measure one of ${MODELS.join(", ")}, and keep the figures of the others`,
    ),
  async measure({ backend: kind, only }, { earlier, save }) {
    await using cleanup = new AsyncDisposableStack();
    const backend = cleanup.adopt(await openBackend(kind), (opened) => opened.dispose());
    const scratch = cleanup.adopt(
      await Deno.makeTempDir({ prefix: "pare-shrink-" }),
      (path) => Deno.remove(path, { recursive: true }),
    );
    const texts = await findTexts(scratch), measured = only === undefined ? MODELS : [only];
    const models = (await listModels(console.error)).filter(({ name }) => measured.includes(name));
    let results: ShrinkResults = {
      cells: earlier?.cells.filter(({ model, kind }) => kind && !measured.includes(model)) ?? [],
    };
    for (const { name: model, folder, seqlen, calibrationWindows: count, tokens } of models) {
      await using opened = await openModelFolder(folder, fs);
      const windows = calibrationWindows((await tokens()).calibration, { windows: count, seqlen });
      const tokenizer = await opened.loadTokenizer(), evaluated = new Map<Kind, Uint32Array>();
      for (const kind of KINDS) {
        const file = texts[kind].evaluation;
        if (file !== undefined) evaluated.set(kind, await readTokens(tokenizer, file, fs));
      }
      const measure = async (measured: Model) => {
        const perplexities = new Map<Kind, number>(), options = { seqlen, windows: EVALUATION_WINDOWS };
        for (const [kind, tokens] of evaluated) {
          perplexities.set(kind, (await computePerplexity(measured, backend, tokens, options)).perplexity);
        }
        return perplexities;
      };
      const dense = await measure(opened.model);
      for (const share of SHARES) {
        const neurons = readUnits("neurons", opened.checkpoint.config, opened.model.spec).count;
        const removed = Math.round(share * neurons), width = neurons - removed;
        const measureShrunk = async (reconstruct: number) => {
          const out = `${scratch}/${model}-${share}-${reconstruct}`;
          await shrink(opened, backend, windows, { kept: { neurons: width }, reconstruct, out });
          await using shrunk = await openModelFolder(out, fs);
          return await measure(shrunk.model);
        };
        const columns = {
          dense,
          magnitude: await measure(await pruneByMagnitude(opened, removed)),
          flap: await measure(await pruneByFlap(opened, backend, windows, removed)),
          pare: await measureShrunk(0),
          reconstructed: await measureShrunk(EPOCHS),
        };
        for (const kind of evaluated.keys()) {
          const at = (column: keyof typeof columns) => columns[column].get(kind)!;
          const cell = {
            ...{
              model,
              kind,
              share,
              removed,
              dense: at("dense"),
              magnitude: at("magnitude"),
              flap: at("flap"),
            },
            ...{ pare: at("pare"), reconstructed: at("reconstructed") },
          };
          console.error(`${model} at ${formatPercent(share)}: ${JSON.stringify(cell)}`);
          results = { cells: [...results.cells, cell] };
        }
        await save({ backend: kind, adapter: backend.adapter.name }, results);
      }
    }
    return results;
  },
  passes: ({ cells }) =>
    cells.filter(({ model, kind }) => kind === CALIBRATED[model])
      .every(({ magnitude, flap, pare, reconstructed }) =>
        pare < magnitude && pare < flap && reconstructed < pare
      ),
  tables: {
    perplexity: ({ cells }) =>
      markdownTable<ShrinkCell>([
        ["model", ({ model }) => model],
        ["text", ({ kind }) => kind],
        ["neurons removed", ({ share }) => formatPercent(share)],
        ["dense", ({ dense }) => formatPerplexity(dense)],
        ["magnitude", ({ magnitude }) => formatPerplexity(magnitude)],
        ["FLAP", ({ flap }) => formatPerplexity(flap)],
        ["`pare shrink`", ({ pare }) => formatPerplexity(pare)],
        [`\`--reconstruct ${EPOCHS}\``, ({ reconstructed }) => formatPerplexity(reconstructed)],
      ], cells),
  },
};

async function shrink(
  { checkpoint, model }: ModelFolder,
  backend: Backend,
  all: readonly Uint32Array[],
  options: Pick<ShrinkJob, "kept" | "reconstruct" | "out">,
): Promise<void> {
  const [heldOut] = holdOut([all.length], VALIDATION);
  await shrinkModel({
    ...{ checkpoint, model, ...options, blocks: 0, fingerprint: {}, reportFileNames: [] },
    windows: all.filter((_, i) => !heldOut.has(i)),
    validationWindows: all.filter((_, i) => heldOut.has(i)),
    reportFiles: () => Promise.resolve(new Map()),
  }, { fs, backend, pruner: new DevicePruner(backend) });
}

/** Removes the neurons whose columns in the layer that reads them have the smallest norms. */
async function pruneByMagnitude({ checkpoint, model }: ModelFolder, count: number): Promise<Model> {
  const replaced = new Map<string, HostTensor>();
  for (const { name } of readingLayers(NEURONS, checkpoint.config, model.spec)) {
    const weight = await readTensor(model.weights, name);
    replaced.set(name, withoutColumns(weight, smallest(columnSquares(weight), count)));
  }
  return { ...model, weights: withReplacements(model.weights, replaced) };
}

/**
 * Removes the neurons j with the smallest var(x_j)·‖W_:,j‖² (the score WIFV), and adds W_:,j·mean(x_j) of the removed
 * ones to the bias of the layer. A model without biases gets some.
 */
async function pruneByFlap(
  { checkpoint, model: dense }: ModelFolder,
  backend: Backend,
  windows: readonly Uint32Array[],
  count: number,
): Promise<Model> {
  const replaced = new Map<string, HostTensor>(), weights = withReplacements(dense.weights, replaced);
  const spec = readModelSpec({ ...checkpoint.config, mlp_bias: true }, (name) => weights.has(name));
  for (const { name, linear, rows } of linearLayers(spec)) {
    const bias = biasOf(name);
    if (linear.bias && !dense.weights.has(bias)) replaced.set(bias, vector(new Float32Array(rows)));
  }
  const model = { spec, weights }, forward = await Forward.begin(backend, model, windows);
  try {
    for (const reader of readingLayers(NEURONS, checkpoint.config, spec)) {
      const weight = await readTensor(weights, reader.name),
        bias = await readTensor(weights, biasOf(reader.name));
      const { means, variances } = await measureInputs(forward, reader);
      const squares = columnSquares(weight),
        removed = smallest(squares.map((x, j) => x * variances[j]), count);
      const values = bytesToFloats(weight.data, weight.dtype as FloatDtype);
      const changed = bytesToFloats(bias.data, bias.dtype as FloatDtype).map((value, row) =>
        removed.reduce((sum, j) => sum + values[row * reader.cols + j] * means[j], value)
      );
      replaced.set(reader.name, withoutColumns(weight, removed));
      replaced.set(biasOf(reader.name), vector(changed));
      await forward.runBlock(reader.block);
    }
  } finally {
    forward.destroy();
  }
  return model;
}

/** Measures the mean and the variance of each input of a layer, with all windows. */
async function measureInputs(
  forward: Forward,
  { block, linear, cols }: SizedLayer,
): Promise<{ readonly means: Float64Array; readonly variances: Float64Array }> {
  const reads: Promise<Uint8Array<ArrayBuffer>>[] = [];
  await forward.observeBlock(block, ([{ name }], x, rows) => {
    if (name === linear.name) reads.push(forward.backend.read(x, 0, 4 * rows * cols));
  });
  const sums = new Float64Array(cols), squares = new Float64Array(cols);
  let tokens = 0;
  for (const bytes of await Promise.all(reads)) {
    const values = asFloat32(bytes);
    tokens += values.length / cols;
    values.forEach((value, i) => {
      sums[i % cols] += value;
      squares[i % cols] += value ** 2;
    });
  }
  const means = sums.map((sum) => sum / tokens);
  return { means, variances: squares.map((square, j) => square / tokens - means[j] ** 2) };
}

function columnSquares({ dtype, shape: [, cols], data }: HostTensor): Float64Array {
  const squares = new Float64Array(cols);
  bytesToFloats(data, dtype as FloatDtype).forEach((value, i) => squares[i % cols] += value ** 2);
  return squares;
}

/** Returns the indices of the `count` smallest scores. */
function smallest(scores: Float64Array, count: number): number[] {
  return Array.from(scores, (_, j) => j).sort((a, b) => scores[a] - scores[b] || a - b).slice(0, count);
}

/** Returns the weight with 0 in some columns. */
function withoutColumns({ dtype, shape, data }: HostTensor, columns: readonly number[]): HostTensor {
  const values = bytesToFloats(data, dtype as FloatDtype), [rows, cols] = shape;
  for (let row = 0; row < rows; row++) for (const column of columns) values[row * cols + column] = 0;
  return { dtype, shape, data: floatsToBytes(values, dtype as FloatDtype) };
}

function biasOf(weight: string): string {
  return weight.replace(/weight$/, "bias");
}

function vector(values: Float32Array<ArrayBuffer>): HostTensor {
  return { dtype: "F32", shape: [values.length], data: new Uint8Array(values.buffer) };
}
