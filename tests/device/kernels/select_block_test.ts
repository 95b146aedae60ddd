/** Tests the selection of the k smallest scores of one block by four dispatches, in comparison with sorting. */

import { finishSelection, refineHistogram } from "../../../src/device/kernels/selection/select_block.ts";
import { updateBlock } from "../../../src/device/kernels/selection/update_block.ts";
import { downloadU32, upload } from "../../support/device.ts";
import { testKernel } from "../../support/kernel_cases.ts";
import { chosenEntries, testSelection } from "../../support/selection.ts";

/** The parameters of `update_block` for a whole matrix without an update. */
const NO_UPDATE = { depth: 0, row0: 0, a_offset: 0, lda: 0, u_offset: 0, ldu: 0, w_offset: 0 };

testKernel(refineHistogram, { tolerance: 0 });
testKernel(finishSelection, { tolerance: 0 });

testSelection("the selection in one block", async (backend, operands, params, k) => {
  const { keys, digits } = operands, { rows, cols } = params;
  const selection = upload(backend, new Uint32Array(2 + rows).fill(0xdeadbeef));
  const work = backend.createBuffer("work", 4 * rows * cols);
  const buffers = { ...operands, a: operands.w, u: operands.w, work };
  backend.dispatch(updateBlock, buffers, { ...params, ...NO_UPDATE, ldw: cols, ldwork: cols });
  for (const level of [1, 2]) {
    backend.dispatch(refineHistogram, { keys, digits }, { count: rows * cols, level, k });
  }
  backend.dispatch(finishSelection, { keys, digits, selection }, { rows, cols });
  const chosen = chosenEntries(await downloadU32(backend, keys), await downloadU32(backend, selection), cols);
  for (const buffer of [selection, work]) buffer.destroy();
  return chosen;
});
