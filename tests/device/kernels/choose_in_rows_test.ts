/** Tests the kernel that chooses the kept entries of each row. Some scores are tied, and some entries are forced. */

import { chooseInRows, chooseInRowsCase } from "../../../src/device/kernels/selection/choose_in_rows.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SHAPES = [[1, 1], [7, 31], [9, 33], [33, 127], [5, 172], [3, 9001]];

testKernel(
  chooseInRows,
  { tolerance: 0 },
  ...SHAPES.flatMap(([rows, cols]) =>
    ["", ", with many ties"].flatMap((ties) =>
      [0, 1].map((has_forced) => {
        // The first row prunes nothing, the second row everything, and the others different numbers of entries.
        const counts = Array.from({ length: rows }, (_, r) => r < 2 ? r * cols : (r * 7919) % cols);
        const { params, buffers } = chooseInRowsCase(rows, cols, has_forced, counts);
        const title = `${rows}×${cols}${ties}${has_forced ? ", with forced entries" : ""}`;
        return [`keeps the largest scores of each row of ${title}`, {
          params,
          buffers: () => {
            const operands = buffers();
            return ties ? { ...operands, x: operands.x.map((value) => Math.round(value * 2) / 2) } : operands;
          },
        }] as const;
      })
    )
  ),
);
