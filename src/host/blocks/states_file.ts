/**
 * A file with the hidden states of a model, in the format safetensors. Its metadata have a description of the states with the
 * CRC-32 of this text. The last tensor is the CRC-32 of the text and of all other data. So nothing of a damaged file is used.
 */

import { crc32 } from "node:zlib";
import { DamagedFileError } from "../../base/files/file_error.ts";
import type { FileSystem, ReadableFile } from "../../base/files/file_system.ts";
import { writeFileAtomically } from "../../base/files/whole_file.ts";
import { type Backend, describeRounding } from "../../device/backend.ts";
import { memorySource } from "../../model/checkpoint/tensor_source.ts";
import { Forward } from "../../model/forward.ts";
import { countStatesBytes } from "../../model/hidden_states/hidden_states.ts";
import { countColumns } from "../../model/hidden_states/state_columns.ts";
import type { StoredStates } from "../../protocol/messages.ts";
import { partSizes } from "../../prune/window_parts.ts";
import { encodeHeader } from "../../tensor/safetensors/encode.ts";
import {
  LENGTH_BYTES,
  MAX_CHECKPOINT_HEADER_BYTES,
  parseHeader,
  parseHeaderLength,
} from "../../tensor/safetensors/header.ts";
import { type ModelDescription, readSpec } from "./read_spec.ts";
import {
  blankWindows,
  countDataBytes,
  countObjectBytes,
  describeStates,
  type States,
  type StatesName,
} from "./states.ts";

/** The metadata of a file. */
interface Description extends StatesName, StoredStates {
  readonly model: ModelDescription;
  /** The device that computed the states. Another one would continue with other bits. */
  readonly device: string;
  /** The number of windows that are held out. They are the last ones. */
  readonly heldOut: number;
  readonly hasTargets: boolean;
}

/** Only the user of the host may read the states, because they tell much about the texts of its clients. */
const FILE_MODE = 0o600;

const CHECKSUM_BYTES = 4;

/** Writes the states, whose bytes are in host memory. Returns the bytes of the file. If it throws, there is no file. */
export async function writeStates(
  fs: FileSystem,
  path: string,
  name: StatesName,
  states: States,
): Promise<number> {
  const { forward: { backend, hiddenStates, denseStates, tokens, model: { spec } } } = states;
  const { validationWindows, model } = states, described = describeStates(states);
  const description: Description = {
    ...name,
    ...described,
    model,
    device: deviceOf(backend),
    heldOut: validationWindows.length,
    hasTargets: denseStates !== undefined,
  };
  const text = JSON.stringify(description), shape = [described.windows, tokens, countColumns(spec)];
  let end = 0, checksum = crc32(text);
  const { bytes } = encodeHeader([
    { name: "hidden_states", dtype: "F32", shape },
    ...denseStates ? [{ name: "dense_hidden_states", dtype: "F32", shape } as const] : [],
    { name: "checksum", dtype: "U32", shape: [1] },
  ], { states: text, checksum: String(checksum) });
  await writeFileAtomically(fs, path, async (file) => {
    const write = async (bytes: Uint8Array) => {
      await file.write(end, bytes);
      end += bytes.byteLength;
    };
    await write(bytes);
    for (const stream of [hiddenStates, denseStates]) {
      for (const data of stream?.hostBytes ?? []) {
        checksum = crc32(data, checksum);
        await write(data);
      }
    }
    await write(new Uint8Array(Uint32Array.of(checksum).buffer));
  }, FILE_MODE);
  return end;
}

function deviceOf({ kind, adapter }: Backend): string {
  return describeRounding({ backend: kind, adapter: adapter.name });
}

/**
 * Returns the description in a file, and its checksum.
 * @throws {SafetensorsError} {SyntaxError} {DamagedFileError} if it is damaged, or has the states of another name or device
 */
export async function readDescription(file: ReadableFile, path: string, name: StatesName, backend: Backend) {
  const prefix = await file.read(0, Math.min(LENGTH_BYTES, file.byteLength));
  const headerBytes = LENGTH_BYTES + parseHeaderLength(prefix, MAX_CHECKPOINT_HEADER_BYTES);
  const json = await file.read(LENGTH_BYTES, headerBytes - LENGTH_BYTES);
  const { metadata } = parseHeader(json, file.byteLength - headerBytes), { states: text = "" } = metadata;
  const checksum = crc32(text);
  if (metadata.checksum !== String(checksum)) throw wrongChecksum(path);
  const description: Description = JSON.parse(text);
  if (description.owner !== name.owner || description.name !== name.name) {
    throw new DamagedFileError(`${path}: does not have the states ${name.name}`);
  }
  const device = deviceOf(backend);
  if (description.device !== device) {
    throw new DamagedFileError(`${path}: has states of ${description.device}, and the device is ${device}`);
  }
  return { description, checksum, headerBytes };
}

/**
 * Reads the states of a file.
 * @throws {DamagedFileError} if the data does not have its checksum
 * @throws as `readDescription` and `readSpec`, and the errors of the device
 */
export async function readStates(
  file: ReadableFile,
  path: string,
  name: StatesName,
  backend: Backend,
): Promise<States> {
  const { description, headerBytes, ...read } = await readDescription(file, path, name, backend);
  const { model, heldOut, hasTargets, tokens, windows: count, next_block: block } = description;
  const spec = readSpec(model), dataBytes = countDataBytes(spec, { windows: count, tokens, hasTargets });
  const byteLength = dataBytes + countObjectBytes(model, count);
  if (headerBytes + dataBytes + CHECKSUM_BYTES !== file.byteLength) {
    throw new DamagedFileError(`${path}: does not have the size of its states`);
  }
  const last = await file.read(file.byteLength - CHECKSUM_BYTES, CHECKSUM_BYTES);
  const [stored] = new Uint32Array(last.buffer);
  let end = headerBytes, checksum = read.checksum;
  /** The tensors are read in order. */
  const readNext = async (byteLength: number) => {
    const bytes = await file.read(end, byteLength);
    checksum = crc32(bytes, checksum);
    end += byteLength;
    return bytes.buffer;
  };
  const blank = blankWindows(count - heldOut, heldOut, tokens), weights = new Map();
  const forward = await Forward.begin(
    backend,
    { spec, weights: memorySource(weights) },
    Object.values(blank).flat(),
    {
      parts: partSizes(blank),
      hasDenseStream: hasTargets,
      hiddenStatesBytes: 0,
      initial: {
        block,
        read: async (batch) => new Float32Array(await readNext(countStatesBytes(spec, batch.count, tokens))),
      },
    },
  );
  if (stored === checksum) {
    return { forward, model, weights, ...blank, byteLength, nextBlock: block };
  }
  forward.destroy();
  throw wrongChecksum(path);
}

function wrongChecksum(path: string): DamagedFileError {
  return new DamagedFileError(`${path}: does not have its checksum`);
}
