/** The lies of a host: changes of an honest answer, each of which a client must refuse. */

import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { BYTES_PER_ELEMENT, bytesToFloats, type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

export interface AnswerParts {
  readonly tensors: Record<string, HostTensor>;
  readonly report: Record<string, unknown>;
}

/** Returns the tensors and members of the report that replace the honest ones. */
export type Lie = (honest: AnswerParts) => Partial<AnswerParts>;

/** Returns a copy of `tensor` whose bytes `change` has changed. */
function changed(tensor: HostTensor, change: (bytes: Uint8Array) => unknown): HostTensor {
  const data = tensor.data.slice();
  change(data);
  return { ...tensor, data };
}

/** Returns a copy of a weight with other values. */
function mapped({ dtype, shape, data }: HostTensor, change: (value: number) => number): HostTensor {
  const floats = dtype as FloatDtype;
  return { dtype, shape, data: floatsToBytes(bytesToFloats(data, floats).map(change), floats) };
}

/** Returns the numbers of the entries that have this bit in the mask. */
function entriesOf(
  { data, shape: [, rowBytes] }: HostTensor,
  { shape: [rows, cols] }: HostTensor,
  bit: 0 | 1,
): number[] {
  const entries = Array.from({ length: rows * cols }, (_, entry) => entry);
  return entries.filter((entry) => {
    const col = entry % cols;
    return (data[Math.floor(entry / cols) * rowBytes + (col >> 3)] >> (col & 7) & 1) === bit;
  });
}

/** Returns a copy of a weight in which the upper two bytes of an entry are others, and its lower bytes are 0. */
function withEntry(weight: HostTensor, entry: number, upper: readonly [number, number]): HostTensor {
  const width = BYTES_PER_ELEMENT[weight.dtype];
  return changed(
    weight,
    (bytes) => bytes.fill(0, entry * width, (entry + 1) * width).set(upper, (entry + 1) * width - 2),
  );
}

/** Exchanges the first half of the rows and the second one. */
function swapHalves(bytes: Uint8Array): void {
  const half = bytes.length / 2, first = bytes.slice(0, half);
  bytes.copyWithin(0, half);
  bytes.set(first, half);
}

/** Sets the last entry of a weight, which the fake host keeps, to a NaN or an infinity. */
function withLastEntry(weight: HostTensor, isNaN: boolean): HostTensor {
  return changed(weight, (bytes) => {
    // The upper two bytes of an element decide, and 0x7fff is a NaN in every dtype.
    const infinity = { F32: [0x80, 0x7f], BF16: [0x80, 0x7f], F16: [0x00, 0x7c] }[weight.dtype as "F32"];
    bytes.set(isNaN ? [0xff, 0x7f] : infinity, bytes.length - 2);
  });
}

/** Changes the bytes of an answer. */
export type Change = (honest: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>;

/** The lies by name. */
export const LIES: Readonly<Record<string, Lie>> = {
  "a NaN": ({ tensors: { weight } }) => ({ tensors: { weight: withLastEntry(weight, true) } }),
  "an infinity": ({ tensors: { weight } }) => ({ tensors: { weight: withLastEntry(weight, false) } }),
  "values times 1.5": ({ tensors: { weight } }) => ({
    tensors: { weight: mapped(weight, (value) => 1.5 * value) },
  }),
  "the values of another layer": ({ tensors: { weight } }) => ({
    tensors: { weight: mapped(weight, (value) => -value) },
  }),
  "one more zero": ({ tensors: { weight, mask } }) => ({
    tensors: { weight: withEntry(weight, entriesOf(mask, weight, 1).at(-1)!, [0, 0]) },
  }),
  "one more zero, which the mask and the report confirm": ({ tensors: { weight, mask }, report }) => {
    const entry = entriesOf(mask, weight, 1).at(-1)!, [, cols] = weight.shape, col = entry % cols;
    const byte = Math.floor(entry / cols) * mask.shape[1] + (col >> 3);
    return {
      tensors: {
        weight: withEntry(weight, entry, [0, 0]),
        mask: changed(mask, (bytes) => bytes[byte] &= ~(1 << (col & 7))),
      },
      report: { ...report, zeros: report.zeros as number + 1 },
    };
  },
  "zeros in other places": ({ tensors: { weight } }) => ({
    tensors: { weight: changed(weight, swapHalves) },
  }),
  "zeros in other places, which the mask confirms": ({ tensors: { weight, mask } }) => ({
    tensors: { weight: changed(weight, swapHalves), mask: changed(mask, swapHalves) },
  }),
  "a report without errors": ({ tensors: { weight }, report }) => ({
    tensors: { weight: mapped(weight, (value) => 1.5 * value) },
    report: { ...report, loss: null, relative_error: null },
  }),
  "zeros only": ({ tensors: { weight } }) => ({
    tensors: { weight: changed(weight, (bytes) => bytes.fill(0)) },
  }),
  "zeros only, which the mask and the report confirm": ({ tensors: { weight, mask }, report }) => ({
    tensors: {
      weight: changed(weight, (bytes) => bytes.fill(0)),
      mask: changed(mask, (bytes) => bytes.fill(0)),
    },
    report: { ...report, zeros: weight.shape[0] * weight.shape[1], sparsity: 1 },
  }),
  "a pruned entry that is not 0": ({ tensors: { weight, mask } }) => ({
    tensors: { weight: withEntry(weight, entriesOf(mask, weight, 0)[0], [0x10, 0x3c]) },
  }),
  "nothing pruned": ({ tensors: { mask }, report }) => ({
    tensors: { mask: changed(mask, (bytes) => bytes.fill(255)) },
    report: { ...report, zeros: 0, sparsity: 0 },
  }),
  "another shape": ({ tensors: { weight } }) => ({
    tensors: { weight: { ...weight, shape: [weight.shape[0] * 2, weight.shape[1] / 2] } },
  }),
  "another dtype": ({ tensors: { weight } }) => ({
    tensors: {
      weight: {
        ...weight,
        dtype: ({ F32: "U32", F16: "BF16", BF16: "F16" } as const)[weight.dtype as FloatDtype],
      },
    },
  }),
  "a mask of another shape": ({ tensors: { mask } }) => ({
    tensors: { mask: { ...mask, shape: [1, mask.data.length] } },
  }),
  "a report with other zeros": ({ report }) => ({ report: { ...report, zeros: 1 } }),
  "a report of another layer": ({ report }) => ({ report: { ...report, rows: 1 } }),
  "codes that nobody asked for": ({ tensors: { mask } }) => ({
    tensors: { codes: mask, scales: mask, zeros: mask },
  }),
};

/** Changes the bytes of an honest answer for a layer. */
export function lieAbout(honest: Uint8Array<ArrayBuffer>, lie: Lie): Uint8Array<ArrayBuffer> {
  const { header, tensors } = decode(honest), report = JSON.parse(header.metadata.report);
  const parts = lied({ tensors: Object.fromEntries(tensors), report }, lie);
  return encode(parts.tensors, { report: JSON.stringify(parts.report) });
}

/** Changes the last layer of an honest answer for a block. */
export function lieAboutBlock(honest: Uint8Array<ArrayBuffer>, lie: Lie): Uint8Array<ArrayBuffer> {
  const { header, tensors } = decode(honest, { maxHeaderBytes: 2 ** 24 }),
    block = JSON.parse(header.metadata.block);
  const layer = block.layers.at(-1),
    own = [...tensors].filter(([name]) => `${name}.`.startsWith(`${layer.name}.`));
  const partOf = (name: string) => name.slice(layer.name.length + 1) || "weight";
  const parts = lied(
    {
      tensors: Object.fromEntries(own.map(([name, tensor]) => [partOf(name), tensor])),
      report: layer.report,
    },
    lie,
  );
  for (const [name] of own) tensors.delete(name);
  for (const [part, tensor] of Object.entries(parts.tensors)) {
    tensors.set(part === "weight" ? layer.name : `${layer.name}.${part}`, tensor);
  }
  layer.report = parts.report;
  return encode(tensors, { block: JSON.stringify(block) });
}

function lied(honest: AnswerParts, lie: Lie): AnswerParts {
  const { tensors, report = honest.report } = lie(honest);
  return { tensors: { ...honest.tensors, ...tensors }, report };
}
