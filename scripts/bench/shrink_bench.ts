/**
 * Measures the perplexity of models with fewer neurons in their feed-forward networks: by `pare shrink`, by the norms
 * of the columns (magnitude), and by the score and the bias of FLAP (An et al., arXiv 2312.11983). All three remove the
 * same number of neurons from each block. The column `blocks` has models without whole blocks, which are chosen as by
 * ShortGPT (arXiv 2403.03853). The dropped blocks have at most as many weights as the removed neurons. Pare and FLAP
 * fit all calibration windows. Only with a reconstruction does Pare hold an eighth of them out, as `pare shrink` does.
 * Each block of FLAP is measured with the outputs of the smaller blocks before it, as each of Pare's is. For FLAP and
 * Pare, the results also have the KL divergence from the dense model.
 */

import { Option } from "commander";
import { openBackend } from "../../src/cli/open_backend.ts";
import { readTensor, withReplacements } from "../../src/model/checkpoint/tensor_source.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { Forward } from "../../src/model/forward.ts";
import { linearLayers, type SizedLayer } from "../../src/prune/block_plan.ts";
import { type KeptUnits, readingLayers, readUnits } from "../../src/prune/shrink/units.ts";
import type { Backend } from "../../src/device/backend.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";
import { findTexts, type Kind } from "../fixtures/trained_models.ts";
import { REAL_MODELS } from "../peers/real_model.ts";
import type { Bench } from "./bench.ts";
import {
  byKind,
  columnSquares,
  EPOCHS,
  type MeasuredModel,
  measureShrunk,
  openTrained,
  pruneByMagnitude,
  remainingNeurons,
  smallest,
  type TrainedModel,
  withoutColumns,
} from "./measure/shrunk_models.ts";
import { listQualityModels } from "./quality/cells.ts";
import { formatPercent, formatPerplexity, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";

/** The models whose neurons can be removed, and the kind of text that they are calibrated on. */
const CALIBRATED: Readonly<Record<string, Kind>> = {
  "opt-sotu": "speeches",
  "llama-sotu": "speeches",
  "stories260K": "stories",
  "smollm2-rescaled": "speeches",
};

const MODELS = Object.keys(CALIBRATED);

/** The shares of the weights of all blocks that are removed. */
const SHARES = [0.1, 0.2, 0.3];

/** The share of the real model, which is not reconstructed, so that its cell takes some minutes. */
const REAL_SHARES = [0.2];

/** Selects the layers that read the neurons. The number does not matter. */
const NEURONS: KeptUnits = { neurons: 1 };

/** The perplexities of one model on one kind of text. */
interface ShrinkCell {
  readonly model: string;
  readonly kind: Kind;
  /** The share of the weights of all blocks that is removed, and the numbers of neurons before and after. */
  readonly share: number;
  readonly neurons: { readonly dense: number; readonly shrunk: number };
  readonly dense: number;
  readonly magnitude: number;
  readonly flap: number;
  /** The perplexity without whole blocks, and their number. Absent if a block has more weights than the neurons. */
  readonly blocks?: number;
  readonly droppedBlocks: number;
  readonly pare: number;
  readonly reconstructed?: number;
  /** The mean of KL(dense ‖ model) over the tokens, in nats. */
  readonly divergences?: Readonly<Record<"flap" | "pare", number>>;
}

interface ShrinkResults {
  readonly cells: readonly ShrinkCell[];
}

export const bench: Bench<{ readonly only?: string }, ShrinkResults> = {
  description: "perplexity of models with fewer neurons: pare shrink, magnitude and FLAP",
  options: (command) =>
    command.addOption(
      new Option("--only <model>", "measure one model, and keep the figures of the others").choices(MODELS),
    ),
  async measure({ backend: kind, only }, { earlier, scratch, save }) {
    await using cleanup = new AsyncDisposableStack();
    const backend = await openBackend({ backend: kind }, cleanup);
    const texts = await findTexts(scratch), measured = only === undefined ? MODELS : [only];
    const models = (await listQualityModels()).filter(({ name }) => measured.includes(name));
    let results: ShrinkResults = {
      cells: earlier?.cells.filter(({ model }) => !measured.includes(model)) ?? [],
    };
    for (const benched of models) {
      const trained = await openTrained(benched, texts, CALIBRATED[benched.name], backend, cleanup);
      const { opened, measure } = trained, isReal = benched.name in REAL_MODELS;
      const dense = await measure(opened.model), { name: model } = benched;
      for (const share of isReal ? REAL_SHARES : SHARES) {
        const neurons = readUnits("neurons", opened.checkpoint.config, opened.model.spec).count;
        const kept = { neurons: remainingNeurons(trained, share) }, removed = neurons - kept.neurons;
        const out = `${scratch}/shrunk`, droppedBlocks = Math.floor(share * opened.model.spec.blockCount);
        const shrunk = (reconstruct: number) => measureShrunk(trained, backend, { kept, reconstruct, out });
        const magnitude = await measure(await pruneByMagnitude(opened, kept));
        const flap = await measureFlap(trained, backend, removed), pare = await shrunk(0);
        const columns = byKind({
          dense,
          magnitude,
          flap,
          ...droppedBlocks === 0 ? {} : {
            blocks: await measureShrunk(trained, backend, {
              kept: {},
              reconstruct: 0,
              blocks: droppedBlocks,
              out,
            }),
          },
          pare,
          ...isReal ? {} : { reconstructed: await shrunk(EPOCHS) },
        });
        const divergencesOf = (kind: Kind) => ({
          flap: flap.get(kind)!.divergence,
          pare: pare.get(kind)!.divergence,
        });
        const sizes = { share, neurons: { dense: neurons, shrunk: kept.neurons }, droppedBlocks };
        const cells = columns.map((column): ShrinkCell => (
          { model, ...sizes, ...column, divergences: divergencesOf(column.kind) }
        ));
        for (const cell of cells) {
          console.error(`${model} at ${formatPercent(share)}: ${JSON.stringify(cell)}`);
        }
        results = { cells: [...results.cells, ...cells] };
        await save({ backend: kind, adapter: backend.adapter.name }, results, earlier);
      }
    }
    return results;
  },
  passes: ({ cells }) =>
    cells.filter(({ model, kind }) => kind === CALIBRATED[model])
      .every(({ magnitude, flap, blocks = Infinity, pare, reconstructed }) =>
        pare < magnitude && pare < flap && pare < blocks && !(reconstructed! >= pare)
      ),
  tables: {
    perplexity: ({ cells }) =>
      markdownTable<ShrinkCell>([
        ["model", ({ model }) => model],
        ["text", ({ kind }) => kind],
        ["fewer weights", ({ share }) => formatPercent(share)],
        ["neurons", ({ neurons: { dense, shrunk } }) => `${shrunk} of ${dense}`],
        ["dense", ({ dense }) => formatPerplexity(dense)],
        ["magnitude", ({ magnitude }) => formatPerplexity(magnitude)],
        ["FLAP", ({ flap }) => formatPerplexity(flap)],
        ["blocks", ({ blocks, droppedBlocks }) =>
          blocks === undefined ? NOT_MEASURED : `${formatPerplexity(blocks)} (−${droppedBlocks})`],
        ["`pare shrink`", ({ pare }) =>
          formatPerplexity(pare)],
        [`\`--reconstruct ${EPOCHS}\``, ({ reconstructed: figure }) =>
          figure === undefined ? NOT_MEASURED : formatPerplexity(figure)],
        ["KL of FLAP", ({ divergences }) =>
          divergences?.flap.toPrecision(3) ?? NOT_MEASURED],
        ["KL of `pare shrink`", ({ divergences }) =>
          divergences?.pare.toPrecision(3) ?? NOT_MEASURED],
      ], cells),
  },
};

/**
 * Removes the `count` neurons j with the smallest var(x_j)·‖W_:,j‖² (the score WIFV), and adds W_:,j·mean(x_j) of the
 * removed ones to the bias of the layer. A model without biases gets some.
 */
async function measureFlap(
  { opened: { checkpoint, model: dense }, windows, measure }: TrainedModel,
  backend: Backend,
  count: number,
): Promise<MeasuredModel> {
  const replaced = new Map<string, HostTensor>(), weights = withReplacements(dense.weights, replaced);
  const config = { ...checkpoint.config, mlp_bias: true };
  const spec = readModelSpec(config, (name) => weights.has(name));
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
  return await measure(model);
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

function biasOf(weight: string): string {
  return weight.replace(/weight$/, "bias");
}

function vector(values: Float32Array<ArrayBuffer>): HostTensor {
  return { dtype: "F32", shape: [values.length], data: new Uint8Array(values.buffer) };
}
