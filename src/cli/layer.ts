/**
 * `pare layer FILE --out FILE` prunes one layer, in this process or on the host that `--server` names. The input file is a request body of
 * `POST /v1/layers`, a safetensors file. The output file is a safetensors file with the pruned weight and the mask.
 */

import { Command } from "commander";
import { PareError } from "../client/errors.ts";
import type { LayerTensors, PrunedLayer } from "../client/layer_file.ts";
import { decode } from "../tensor/safetensors/decode.ts";
import { encode } from "../tensor/safetensors/encode.ts";
import { SafetensorsError } from "../tensor/safetensors/error.ts";
import {
  addBackendOption,
  addCommonOptions,
  type BackendFlags,
  type CommonOptions,
} from "./options/common_options.ts";
import { addExample } from "./options/help.ts";
import { addServerOptions, type ServerFlags } from "./options/server_options.ts";
import { numberText, secondsText } from "../prune/report/format.ts";
import { addLayerOptions, type LayerFlags, layerQuery } from "./options/layer_options.ts";
import { DevicePruner } from "../prune/device_pruner.ts";
import { openBackend } from "./open_backend.ts";
import { Output } from "./terminal/output.ts";
import { remoteClient } from "./remote_client.ts";
import { denoFileSystem } from "./files/deno_file_system.ts";
import { requireFile } from "./files/input_file.ts";
import { requireNoInput, requireWritableFile } from "./files/output_path.ts";
import { ModelError } from "../base/files/file_error.ts";
import { readBytes, writeAtomically } from "../base/files/whole_file.ts";

/** The options as commander parses them. */
interface LayerCommandOptions extends CommonOptions, BackendFlags, ServerFlags, LayerFlags {
  readonly out: string;
}

/** Returns the command `pare layer`. `signal` stops it. */
export function createLayerCommand(signal: AbortSignal): Command {
  const command = new Command("layer")
    .description(
      "prune one layer, given as a safetensors file with weight and one of hessian, hessian_upper or inputs",
    )
    .argument("<file>", "the layer, in the format of a request body of POST /v1/layers")
    .requiredOption("--out <file>", "where to write weight and mask");
  addCommonOptions(addBackendOption(addServerOptions(addLayerOptions(command))));
  addExample(command, "layer layer.safetensors --out pruned.safetensors --pattern 2:4");
  return command.action((file: string, options: LayerCommandOptions) => pruneOne(file, options, signal));
}

/** The statuses that say that the layer itself is at fault. */
const LAYER_STATUSES: readonly number[] = [400, 413, 422];

async function pruneOne(file: string, options: LayerCommandOptions, signal: AbortSignal): Promise<void> {
  const query = layerQuery(options);
  await requireFile("argument", file);
  await requireWritableFile("--out", options.out);
  await requireNoInput("--out", options.out, [file]);
  const output = new Output(options.json ?? false);
  const tensors = await readLayer(file);
  await using cleanup = new AsyncDisposableStack();
  const pruner = remoteClient(options, output) ?? new DevicePruner(await openBackend(options, cleanup));
  const pruned = await pruner.pruneLayer(tensors, query, { signal }).catch((error) => {
    if (error instanceof PareError && LAYER_STATUSES.includes(error.status)) {
      error.message = `${file}: ${error.message}`;
    }
    throw error;
  });
  await writeAtomically(denoFileSystem, options.out, encodeResult(pruned));
  const { report } = pruned;
  output.result({ report, out: options.out }, [
    `${report.rows}×${report.cols} ${report.method} ${report.pattern}: ${report.zeros} zeros, ` +
    `relative error ${numberText(report.relative_error)}, ` +
    `${secondsText(report.seconds.total)} on ${report.adapter}`,
    `wrote ${options.out}`,
  ]);
}

/** Reads the tensors of a file. The pruner, which is this process or a host, checks the tensors other than the weight. */
async function readLayer(path: string): Promise<LayerTensors> {
  try {
    const tensors = decode(await readBytes(denoFileSystem, path)).tensors, weight = tensors.get("weight");
    if (!weight) throw new ModelError(`${path}: has no tensor weight, so it is not a layer`);
    return { ...Object.fromEntries(tensors), weight };
  } catch (error) {
    if (error instanceof SafetensorsError) {
      throw new ModelError(`${path}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** Encodes a pruned layer as a file. The times are left out of the report, so that the same request always gives the same bytes. */
function encodeResult({ quantized, report, ...tensors }: PrunedLayer): Uint8Array {
  const { seconds: _, ...reproducible } = report;
  return encode({ ...tensors, ...quantized }, { report: JSON.stringify(reproducible) });
}
