/**
 * Tests the kernel that chooses the kept entries of each row, in comparison with sorting. Some scores are
 * tied, and some entries are forced.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { chooseInRows } from "../../src/kernels/selection/choose_in_rows.ts";
import { referenceSelection } from "../reference/selection.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadU32, upload } from "../support/device.ts";
import { normals, uniform } from "../support/random.ts";

const SHAPES = [[1, 1], [7, 31], [9, 33], [33, 127], [5, 172], [3, 9001]];

eachBackend("choose_in_rows", (backend) => {
  for (const [rows, cols] of SHAPES) {
    for (const levels of [undefined, 2]) {
      for (const has_forced of [0, 1]) {
        const name = `${rows}×${cols}${levels ? ", with many ties" : ""}${
          has_forced ? ", with forced entries" : ""
        }`;
        it(`keeps the largest scores of each row of ${name}`, async () => {
          const next = uniform(rows), row0 = 2, ld = cols + 3, words = Math.ceil(cols / 32);
          const x = normals(rows * ld, cols).map((v) => levels ? Math.round(v * levels) / levels : v);
          const scale = Float32Array.from({ length: cols }, (_, c) => c % 4);
          // The first row prunes nothing, the second row everything, and the others a random number of entries.
          const counts = Uint32Array.from(
            { length: row0 + rows },
            (_, r) => r === row0 ? 0 : r === row0 + 1 ? cols : Math.floor(next() * cols),
          );
          const forced = new Uint32Array((row0 + rows) * words);
          const expected = new Uint32Array((row0 + rows) * words).fill(0xabcd, 0, row0 * words);
          for (let r = 0; r < rows; r++) {
            const flags = Array.from({ length: cols }, () => has_forced === 1 && next() < 0.3);
            const scores = flags.map((_, c) => Math.abs(Math.fround(x[r * ld + c] * scale[c])));
            const count = Math.max(counts[row0 + r], flags.filter(Boolean).length);
            const pruned = referenceSelection(scores, count, (c) => flags[c]);
            for (let c = 0; c < cols; c++) {
              const word = (row0 + r) * words + (c >> 5), bit = 1 << (c & 31);
              if (flags[c]) forced[word] |= bit;
              if (!pruned[c]) expected[word] |= bit;
            }
          }
          const buffers = {
            x: upload(backend(), x),
            scale: upload(backend(), scale),
            forced: upload(backend(), has_forced ? forced : new Uint32Array(1)),
            counts: upload(backend(), counts),
            mask: upload(backend(), new Uint32Array((row0 + rows) * words).fill(0xabcd)),
          };
          backend().dispatch(chooseInRows, buffers, { rows, cols, ld, row0, words, has_forced });
          deepStrictEqual(await downloadU32(backend(), buffers.mask), expected);
          for (const buffer of Object.values(buffers)) buffer.destroy();
        });
      }
    }
  }
});
