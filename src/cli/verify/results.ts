/** Formats the results of `pare verify`. */

import type { ScannedTensor } from "../../model/formats/checkpoint/scan_checkpoint.ts";
import { countText, shareText } from "../../prune/report/format.ts";
import { elementCount } from "../../tensor/dtype.ts";
import { textTable } from "../terminal/output.ts";

/** A tensor, and the expectations that it was checked against. */
export interface VerifiedTensor extends ScannedTensor {
  /** The pattern that was checked, or null. */
  readonly pattern: string | null;
  /** The least number of zeros by the report of the run, or null. */
  readonly expectedZeros: number | null;
  /** Whether the tensor is one of the pruned or chosen layers. */
  readonly isChecked: boolean;
}

/** Something that is wrong with a tensor. */
export interface TensorFault {
  readonly tensor: string;
  /** The end of a sentence about the tensor. */
  readonly problem: string;
}

/** Returns what is wrong with a tensor. */
export function faultsOf(tensor: VerifiedTensor): TensorFault[] {
  const { name, zeros, pattern, violations, firstViolation, expectedZeros } = tensor;
  const problems: string[] = [];
  if (violations && firstViolation) {
    const [output, input] = firstViolation,
      groups = violations === 1 ? "1 group" : `${countText(violations)} groups`;
    problems.push(`breaks ${pattern} in ${groups}, first in output ${output} at input ${input}`);
  }
  if (expectedZeros !== null && zeros < expectedZeros) {
    problems.push(`has ${countText(zeros)} zeros, but ${countText(expectedZeros)} by pare.json`);
  }
  if (tensor.nonFinite > 0) {
    const values = tensor.nonFinite === 1
      ? "1 value that is"
      : `${countText(tensor.nonFinite)} values that are`;
    problems.push(`has ${values} NaN or infinite, first at ${positionText(tensor)}`);
  }
  return problems.map((problem) => ({ tensor: name, problem }));
}

/**
 * Returns a table of the checked layers and of the tensors with faults. If no layer is checked, it has all matrices. The JSON result has
 * all tensors.
 */
export function verifyTable(tensors: readonly VerifiedTensor[]): string {
  const hasChecks = tensors.some(({ isChecked }) => isChecked);
  const shown = tensors.filter((tensor) =>
    hasChecks ? tensor.isChecked || faultsOf(tensor).length > 0 : tensor.shape.length > 1
  );
  const rows = shown.map(({ name, dtype, shape, zeros, pattern, violations, nonFinite }) => [
    name,
    `${dtype} [${shape.join(", ")}]`,
    shareText(zeros / Math.max(elementCount(shape), 1)),
    pattern ?? "–",
    violations === null ? "–" : countText(violations),
    String(nonFinite),
  ]);
  return textTable(["tensor", "type", "zeros", "pattern", "violations", "NaN or inf"], rows, 2);
}

/** Returns sentences about all tensors and about the checked layers. */
export function summaryLines(tensors: readonly VerifiedTensor[]): string[] {
  const checked = tensors.filter(({ isChecked }) => isChecked);
  const lines = [zerosLine("all tensors", tensors)];
  if (checked.length > 0) lines.push(zerosLine(`the ${checked.length} checked layers`, checked));
  for (const [pattern, layers] of Map.groupBy(checked, (layer) => layer.pattern)) {
    if (pattern === null) continue;
    const broken = layers.filter(({ violations }) => violations! > 0).length;
    lines.push(
      broken === 0
        ? `${layers.length} layers follow ${pattern}`
        : `${broken} of ${layers.length} layers break ${pattern}`,
    );
  }
  const nonFinite = tensors.filter((tensor) => tensor.nonFinite > 0).length;
  lines.push(
    nonFinite === 0 ? "every value is finite" : `${nonFinite} tensors have values that are NaN or infinite`,
  );
  return lines;
}

function zerosLine(what: string, tensors: readonly VerifiedTensor[]): string {
  const zeros = tensors.reduce((sum, tensor) => sum + tensor.zeros, 0);
  const entries = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  return `${what}: ${countText(zeros)} of ${countText(entries)} values are zero (${
    shareText(zeros / Math.max(entries, 1))
  })`;
}

/** The position of the first non-finite value: `[3, 17]`. */
function positionText({ shape, firstNonFinite }: VerifiedTensor): string {
  let rest = firstNonFinite ?? 0;
  const indices = shape.toReversed().map((size) => {
    const index = rest % size;
    rest = Math.floor(rest / size);
    return index;
  });
  return `[${indices.toReversed().join(", ")}]`;
}
