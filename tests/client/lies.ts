/** The lies of a host: changes of an honest answer, each of which a client must refuse. */

import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

/** The parts of an answer. */
export interface AnswerParts {
  readonly tensors: Record<string, HostTensor>;
  readonly report: Record<string, unknown>;
}

/** Returns the tensors and members of the report that replace the honest ones. */
type Lie = (honest: AnswerParts) => Partial<AnswerParts>;

/** Returns a copy of `tensor` whose bytes `change` has changed. */
function changed(tensor: HostTensor, change: (bytes: Uint8Array) => unknown): HostTensor {
  const data = tensor.data.slice();
  change(data);
  return { ...tensor, data };
}

/** Sets the last entry of a weight, which the fake host keeps, to a NaN or an infinity. */
function withLastEntry(weight: HostTensor, isNaN: boolean): HostTensor {
  return changed(weight, (bytes) => {
    // The upper two bytes of an element decide, and 0x7fff is a NaN in every dtype.
    const infinity = { F32: [0x80, 0x7f], BF16: [0x80, 0x7f], F16: [0x00, 0x7c] }[weight.dtype as "F32"];
    bytes.set(isNaN ? [0xff, 0x7f] : infinity, bytes.length - 2);
  });
}

/** The lies by name. */
export const LIES: Readonly<Record<string, Lie>> = {
  "a NaN": ({ tensors: { weight } }) => ({ tensors: { weight: withLastEntry(weight, true) } }),
  "an infinity": ({ tensors: { weight } }) => ({ tensors: { weight: withLastEntry(weight, false) } }),
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
  "a pruned entry that is not 0": ({ tensors: { weight } }) => ({
    tensors: {
      weight: changed(weight, (bytes) => bytes.set([0x10, 0x3c], BYTES_PER_ELEMENT[weight.dtype] - 2)),
    },
  }),
  "nothing pruned": ({ tensors: { mask }, report }) => ({
    tensors: { mask: changed(mask, (bytes) => bytes.fill(255)) },
    report: { ...report, zeros: 0, sparsity: 0 },
  }),
  "another shape": ({ tensors: { weight } }) => ({
    tensors: { weight: { ...weight, shape: [weight.shape[0] * 2, weight.shape[1] / 2] } },
  }),
  "another dtype": ({ tensors: { weight } }) => ({
    tensors: { weight: { ...weight, dtype: weight.dtype === "F32" ? "U32" : "BF16" } },
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

/** Changes the bytes of an honest answer. */
export function lieAbout(honest: Uint8Array<ArrayBuffer>, lie: Lie): Uint8Array<ArrayBuffer> {
  const { header, tensors } = decode(honest);
  const parts: AnswerParts = {
    tensors: Object.fromEntries(tensors),
    report: JSON.parse(header.metadata.report),
  };
  const { tensors: otherTensors, report = parts.report } = lie(parts);
  return encode({ ...parts.tensors, ...otherTensors }, { report: JSON.stringify(report) });
}
